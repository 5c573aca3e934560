// Which value a sort would put at a place, by several lanes: its key is found byte by byte, from a
// count of the keys that share the bytes found so far. A pass over the numbers a byte, which ends
// as soon as the byte tells enough.
#pragma once

#include "oracle_work.h"

LPGD_BEGIN_NAMESPACE

// Keys in the order of the numbers; 0 + v makes one of both zeros. No nan.
LPGD_INLINE std::uint64_t radix_key(double value) {
  value = 0.0 + value;
  std::uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}
LPGD_INLINE std::uint32_t radix_key(float value) {
  value = 0.0F + value;
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return (bits >> 31) != 0 ? ~bits : bits | std::uint32_t{1} << 31;
}

template <class Group>
struct RadixSelect {
  static constexpr int kBins = 256;
  static constexpr int kMostLanes = 256;
  std::int32_t* bins;   // [kBins]
  std::int32_t* slots;  // two a lane, for sums over lanes

  LPGD_HOST_TOO void bind(OracleSlices& slices) {
    slices.take(bins, kBins);
    slices.take(slots, 2 * kMostLanes);
  }

  // Keys below `least` come before the place; of those from `least` to `most`, `ties` come up to it
  // and it itself: all of them, unless `some`, when `most` is `least`.
  template <class Key>
  struct Place {
    Key least, most;
    std::int64_t ties;
    bool some;
  };

  template <class T>
  LPGD_DEVICE auto smallest(const Group& group, const T* values, std::int64_t n,
                            std::int64_t k) const {
    using Key = decltype(radix_key(T{}));
    Place<Key> out{0, static_cast<Key>(~Key{0}), k + 1, false};
    for (int shift = 8 * static_cast<int>(sizeof(Key)) - 8; shift >= 0; shift -= 8) {
      fill(group, bins, kBins, 0);
      group.sync();
      LPGD_EACH(group, i, n) {
        const Key key = radix_key(values[i]);
        if (key >= out.least && key <= out.most)
          count_up(bins + (static_cast<std::uint32_t>(key >> shift) & (kBins - 1)));
      }
      group.sync();
      int bin = 0;
      std::int32_t count = bins[0];
      for (; count < out.ties; count = bins[++bin]) out.ties -= count;
      group.sync();  // the bins may be emptied right after
      out.least |= static_cast<Key>(bin) << shift;
      out.most = out.least | ((Key{1} << shift) - 1);
      out.some = count > out.ties;
      // a range that holds +inf is narrowed down to tell whether it is reached
      if (!out.some && out.most < radix_key(std::numeric_limits<T>::infinity())) break;
    }
    return out;
  }
};

LPGD_END_NAMESPACE
