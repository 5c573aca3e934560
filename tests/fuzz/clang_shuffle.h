// clang has no __builtin_shuffle of GCC's; the fuzz build reads this file before the kernels.
#pragma once

#if defined(__clang__)
template <class Values, class Places>
__attribute__((always_inline)) inline Values __builtin_shuffle(Values values, Places places) {
  Values out;
  for (int lane = 0; lane < static_cast<int>(sizeof(Places) / sizeof(places[0])); ++lane)
    out[lane] = values[places[lane]];
  return out;
}
template <class Values, class Places>
__attribute__((always_inline)) inline Values __builtin_shuffle(Values low, Values high,
                                                               Places places) {
  constexpr int kLanes = static_cast<int>(sizeof(Places) / sizeof(places[0]));
  Values out;
  for (int lane = 0; lane < kLanes; ++lane)
    out[lane] = places[lane] < kLanes ? low[places[lane]] : high[places[lane] - kLanes];
  return out;
}
#endif
