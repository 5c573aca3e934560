// A test harness in one page: the C++ tests need nothing but a compiler.
//
//   LPGD_TEST(name) { CHECK(condition); CHECK_NEAR(a, b, tolerance); }
//
// The executable runs all tests, or those named on its command line; --list prints the names.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

namespace lpgd::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void check(bool ok, const char* text, const char* file, int line) {
  if (ok) return;
  ++failures();
  std::printf("%s:%d: failed: %s\n", file, line, text);
}

inline void check_near(double a, double b, double tolerance, const char* text, const char* file,
                       int line) {
  if (std::abs(a - b) <= tolerance) return;  // false for nan
  ++failures();
  std::printf("%s:%d: failed: %s (%.17g and %.17g differ by %.3g, more than %.3g)\n", file, line,
              text, a, b, std::abs(a - b), tolerance);
}

inline int run_all(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const Case& test : cases()) std::puts(test.name);
    return 0;
  }
  int ran = 0;
  for (const Case& test : cases()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], test.name) == 0;
    if (!wanted) continue;
    ++ran;
    const int before = failures();
    try {
      test.run();
    } catch (const std::exception& error) {
      ++failures();
      std::printf("%s: threw %s\n", test.name, error.what());
    }
    std::printf("%s %s\n", failures() == before ? "ok  " : "FAIL", test.name);
  }
  if (ran == 0) std::puts("no test of that name");
  return failures() == 0 && ran > 0 ? 0 : 1;
}

}  // namespace lpgd::test

#define LPGD_TEST(name)                                                     \
  static void name();                                                       \
  static const ::lpgd::test::Registration name##_registration(#name, name); \
  static void name()
#define CHECK(condition) ::lpgd::test::check((condition), #condition, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance) \
  ::lpgd::test::check_near((a), (b), (tolerance), #a " ~ " #b, __FILE__, __LINE__)
