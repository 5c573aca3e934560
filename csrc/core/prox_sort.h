// The coordinates of a row from large to small. Radix sort of 32-bit keys with their places: the
// leading bits of the numbers, then an insertion pass on the numbers themselves for what the bits
// leave equal.
#pragma once

#include "prox_math.h"

LPGD_BEGIN_NAMESPACE

struct RowSort {
  static constexpr int kMostBins = 2048;
  LPGD_HOST_TOO static std::size_t bytes(std::int64_t n) {
    return 2 * static_cast<std::size_t>(n) * sizeof(std::uint64_t) +
           4 * kMostBins * sizeof(std::uint32_t);
  }
};

// small keys for large numbers
template <bool Abs>
LPGD_INLINE std::uint32_t sort_key(double v) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &v, sizeof(bits));
  const auto top = static_cast<std::uint32_t>(bits >> 32);
  if constexpr (Abs) return ~(top & 0x7fffffffU);
  return (top >> 31) != 0 ? top : ~(top | 0x80000000U);
}
template <bool Abs>
LPGD_INLINE std::uint32_t sort_key(float v) {
  std::uint32_t top;
  __builtin_memcpy(&top, &v, sizeof(top));
  if constexpr (Abs) return ~(top & 0x7fffffffU);
  return (top >> 31) != 0 ? top : ~(top | 0x80000000U);
}

template <int Bits>
LPGD_INLINE std::uint64_t* radix_sort(std::uint64_t* from, std::uint64_t* to, std::int64_t n,
                                      std::uint32_t* bins) {
  constexpr int kPasses = (32 + Bits - 1) / Bits;
  constexpr std::uint32_t kBins = 1U << Bits;
  for (std::uint32_t i = 0; i < kBins * kPasses; ++i) bins[i] = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto key = static_cast<std::uint32_t>(from[i] >> 32);
    for (int pass = 0; pass < kPasses; ++pass)
      ++bins[static_cast<std::uint32_t>(pass) * kBins + ((key >> (pass * Bits)) & (kBins - 1))];
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    std::uint32_t* count = bins + static_cast<std::uint32_t>(pass) * kBins;
    const int shift = 32 + pass * Bits;
    // a digit that all share: the exponents often are
    if (count[(from[0] >> shift) & (kBins - 1)] == static_cast<std::uint32_t>(n)) continue;
    std::uint32_t start = 0;
    for (std::uint32_t bin = 0; bin < kBins; ++bin) {
      const std::uint32_t size = count[bin];
      count[bin] = start;
      start += size;
    }
    for (std::int64_t i = 0; i < n; ++i) to[count[(from[i] >> shift) & (kBins - 1)]++] = from[i];
    std::uint64_t* swap = from;
    from = to;
    to = swap;
  }
  return from;
}

template <bool Abs, class T>
LPGD_HD void sort_row(const T* x, std::int64_t n, std::int32_t* order, void* scratch) {
  auto size = [&](std::int32_t i) { return Abs ? abs_of(x[i]) : x[i]; };
  auto* from = static_cast<std::uint64_t*>(scratch);
  std::uint64_t* to = from + n;
  auto* bins = reinterpret_cast<std::uint32_t*>(to + n);
  constexpr std::int64_t kSmall = 24, kWide = 3000;
  if (n > kSmall) {
    for (std::int64_t i = 0; i < n; ++i)
      from[i] =
          (static_cast<std::uint64_t>(sort_key<Abs>(x[i])) << 32) | static_cast<std::uint64_t>(i);
    from = n < kWide ? radix_sort<8>(from, to, n, bins) : radix_sort<11>(from, to, n, bins);
    for (std::int64_t i = 0; i < n; ++i)
      order[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(from[i]));
    if (sizeof(T) == sizeof(float)) return;  // the key was the whole number
  } else {
    for (std::int64_t i = 0; i < n; ++i) order[i] = static_cast<std::int32_t>(i);
  }
  for (std::int64_t i = 1; i < n; ++i) {
    const std::int32_t entry = order[i];
    const T v = size(entry);
    std::int64_t k = i;
    for (; k > 0 && size(order[k - 1]) < v; --k) order[k] = order[k - 1];
    order[k] = entry;
  }
}

LPGD_END_NAMESPACE
