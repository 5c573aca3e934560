#include "check.h"

int main(int argc, char** argv) { return lpgd::test::run_all(argc, argv); }
