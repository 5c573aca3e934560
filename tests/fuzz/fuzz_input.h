// Bytes to problems: what the fuzzer draws becomes sizes and numbers, hostile ones among them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace lpgd::fuzz {

// Prints the claim that does not hold and dies, which is how a fuzzer is told.
[[noreturn]] inline void fail(const char* text, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}

  // Past the end a fixed sequence goes on, so that a few bytes make a whole problem.
  std::uint8_t byte() {
    if (at_ != end_) return *at_++;
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint8_t>(state_ >> 56);
  }
  bool flag() { return (byte() & 1) != 0; }
  int between(int low, int high) { return low + byte() % (high - low + 1); }

  // Mostly small numbers; of 32 one or two are such that formulas trip over.
  template <class T>
  T number() {
    using Limits = std::numeric_limits<T>;
    const std::uint8_t kind = byte();
    if (tame_ || kind >= 16) return static_cast<T>(static_cast<std::int8_t>(kind ^ byte())) / T(16);
    switch (kind) {
      case 0:
        return Limits::quiet_NaN();
      case 1:
        return Limits::infinity();
      case 2:
        return -Limits::infinity();
      case 3:
        return Limits::max();
      case 4:
        return -Limits::max();
      case 5:
        return Limits::denorm_min();
      case 6:
        return Limits::min();
      case 7:
        return -T(0);
      case 8: {
        T value;
        std::uint8_t raw[sizeof(T)];
        for (std::uint8_t& part : raw) part = byte();
        std::memcpy(&value, raw, sizeof(T));
        return value;
      }
      default:
        return std::ldexp(T(1) + T(byte()) / T(256), between(-60, 60));
    }
  }
  // Whether numbers are finite and small from here on.
  void tame(bool on) { tame_ = on; }

  template <class T>
  std::vector<T> numbers(std::int64_t count) {
    std::vector<T> out(static_cast<std::size_t>(count));
    for (T& value : out) value = number<T>();
    return out;
  }

 private:
  const std::uint8_t *at_, *end_;
  std::uint64_t state_ = 88172645463325252ULL;
  bool tame_ = false;
};

template <class T>
bool all_finite(const std::vector<T>& values) {
  for (const T value : values)
    if (!std::isfinite(value)) return false;
  return true;
}

// Equal throughout, finite numbers all; 0 and -0 are equal: which one it is a neighbour may decide.
template <class T>
bool same_numbers(const T* a, const T* b, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    if (!(a[i] == b[i])) return false;
  return true;
}

// Room whose ends AddressSanitizer watches: a block of its own, aligned for registers.
class Room {
 public:
  explicit Room(std::size_t bytes)
      : data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + (bytes == 0 ? 64 : 0))) {
    // not zero: a kernel may not count on it
    if (data_ != nullptr) std::memset(data_, 0xa5, bytes);
  }
  ~Room() { std::free(data_); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  void* get() const { return data_; }

 private:
  void* data_;
};

}  // namespace lpgd::fuzz

#define LPGD_HOLDS(condition) \
  ((condition) ? (void)0 : ::lpgd::fuzz::fail(#condition, __FILE__, __LINE__))
