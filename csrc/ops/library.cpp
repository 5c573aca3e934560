#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(lpgd, m) { (void)m; }
