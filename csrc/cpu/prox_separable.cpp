// Compiled once per instruction set: separable operators, a register of coordinates at a time.
#include "cpu/prox_separable.h"

#include "core/prox_separable.h"

LPGD_BEGIN_NAMESPACE

namespace {

template <class S>
LPGD_INLINE S load_part(const RealOf<S>* data, std::int64_t count) {
  RealOf<S> buffer[ScalarTraits<S>::lanes];
  for (std::int64_t i = 0; i < ScalarTraits<S>::lanes; ++i)
    buffer[i] = data[i < count ? i : count - 1];
  return At<S>{0}.load(buffer);
}
template <class S>
LPGD_INLINE void store_part(RealOf<S>* data, S value, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) data[i] = get_lane(value, static_cast<int>(i));
}

// whole(at) for the registers of [begin, end), part(begin, count) for the rest, which a register
// does not fill: in a register too, so that a number's result does not depend on its place.
// `to` is where the result goes: with Stream, the registers start on its alignment.
template <class S, bool Stream, class Whole, class Part>
LPGD_INLINE void walk(RealOf<S>* to, std::int64_t begin, std::int64_t end, const Whole& whole,
                      const Part& part) {
  constexpr std::int64_t kWidth = ScalarTraits<S>::lanes;
  std::int64_t i = begin;
  if constexpr (Stream) {
    const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to + begin) %
                                                sizeof(S) / sizeof(RealOf<S>));
    std::int64_t head = past == 0 ? 0 : kWidth - past;
    if (head > end - begin) head = end - begin;
    if (head > 0) part(begin, head);
    i += head;
  }
  for (; i + kWidth <= end; i += kWidth) whole(At<S>{i});
  if (i < end) part(i, end - i);
}

template <class F, class S, int Count>
LPGD_INLINE S checked(S x, const S* p) {
  const S nan = S(std::numeric_limits<RealOf<S>>::quiet_NaN());
  const S value = select(equal(x, x), F::value(x, p), x);
  if constexpr (Count == 0) return value;
  return select(F::valid(p), value, nan);
}

template <class F, int Count, bool Shared, bool Stream, class T>
void forward(const ProxTask<T>& task, std::int64_t row, std::int64_t begin, std::int64_t end) {
  using S = Wide<T>;
  const T* x = task.x + row * task.n;
  T* out = task.out + row * task.n;
  RowParameter<T> parameters[Count + 1];
  S fixed[Count + 1];
  for (int k = 0; k < Count; ++k) {
    parameters[k] = row_of(task.parameters[k], row);
    fixed[k] = S(parameters[k].data[0]);
  }
  auto whole = [&](At<S> at) {
    S value;
    if constexpr (Shared) {
      value = checked<F, S, Count>(at.load(x), fixed);
    } else {
      S p[Count + 1];
      for (int k = 0; k < Count; ++k) p[k] = at.load(parameters[k]);
      value = checked<F, S, Count>(at.load(x), p);
    }
    if constexpr (Stream) {
      stream(out + at.i, value);
    } else {
      at.store(out, value);
    }
  };
  auto part = [&](std::int64_t i, std::int64_t count) {
    S p[Count + 1];
    for (int k = 0; k < Count; ++k)
      p[k] = parameters[k].step == 0 ? fixed[k] : load_part<S>(parameters[k].data + i, count);
    store_part(out + i, checked<F, S, Count>(load_part<S>(x + i, count), p), count);
  };
  walk<S, Stream>(out, begin, end, whole, part);
}

template <class F, int Count, class T>
void forward(const ProxTask<T>& task, std::int64_t row, std::int64_t begin, std::int64_t end) {
  bool shared = true;
  for (int k = 0; k < Count; ++k) shared = shared && task.parameters[k].step == 0;
  constexpr bool kCanStream = ScalarTraits<Wide<T>>::lanes > 1;
  if (shared && task.streaming) {
    forward<F, Count, true, kCanStream>(task, row, begin, end);
  } else if (shared) {
    forward<F, Count, true, false>(task, row, begin, end);
  } else if (task.streaming) {
    forward<F, Count, false, kCanStream>(task, row, begin, end);
  } else {
    forward<F, Count, false, false>(task, row, begin, end);
  }
}

template <class F, int Count, bool Stream, class T>
void backward(const ProxTask<T>& task, std::int64_t row, std::int64_t begin, std::int64_t end,
              double* sums) {
  using S = Wide<T>;
  const T* x = task.x + row * task.n;
  const T* gradient = task.gradient + row * task.n;
  T* gx = task.gradient_x + row * task.n;
  RowParameter<T> parameters[Count + 1];
  S fixed[Count + 1], total[Count + 1];
  T* gp[Count + 1];
  bool summed[Count + 1];
  for (int k = 0; k < Count; ++k) {
    parameters[k] = row_of(task.parameters[k], row);
    fixed[k] = S(parameters[k].data[0]);
    total[k] = S(0);
    const ProxParameterGradient<T>& to = task.gradient_parameters[k];
    summed[k] = to.data != nullptr && to.step == 0;
    gp[k] = to.data != nullptr && to.step != 0 ? to.data + row * to.row_step : nullptr;
  }
  const S nan = S(std::numeric_limits<T>::quiet_NaN());
  auto derivatives = [&](S v, const S* p, S* d) {
    F::derivative(v, p, d);
    MaskOf<S> valid = equal(v, v);
    if constexpr (Count > 0) valid = mask_and(valid, F::valid(p));
    for (int k = 0; k <= Count; ++k) d[k] = select(valid, d[k], nan);
  };
  auto whole = [&](At<S> at) {
    S p[Count + 1], d[Count + 1];
    for (int k = 0; k < Count; ++k)
      p[k] = parameters[k].step == 0 ? fixed[k] : at.load(parameters[k].data);
    const S g = at.load(gradient);
    derivatives(at.load(x), p, d);
    if constexpr (Stream) {
      stream(gx + at.i, d[0] * g);
    } else {
      at.store(gx, d[0] * g);
    }
    for (int k = 0; k < Count; ++k) {
      if (gp[k] != nullptr) at.store(gp[k], d[k + 1] * g);
      if (summed[k]) total[k] += d[k + 1] * g;
    }
  };
  auto part = [&](std::int64_t i, std::int64_t count) {
    S p[Count + 1], d[Count + 1];
    for (int k = 0; k < Count; ++k)
      p[k] = parameters[k].step == 0 ? fixed[k] : load_part<S>(parameters[k].data + i, count);
    derivatives(load_part<S>(x + i, count), p, d);
    const S g = load_part<S>(gradient + i, count);
    store_part(gx + i, d[0] * g, count);
    for (int k = 0; k < Count; ++k) {
      if (gp[k] != nullptr) store_part(gp[k] + i, d[k + 1] * g, count);
      if (summed[k])
        for (std::int64_t lane = 0; lane < count; ++lane)
          sums[k] += static_cast<double>(get_lane(d[k + 1] * g, static_cast<int>(lane)));
    }
  };
  walk<S, Stream>(gx, begin, end, whole, part);
  for (int k = 0; k < Count; ++k)
    if (summed[k]) sums[k] += static_cast<double>(sum_lanes(total[k]));
}

}  // namespace

template <class T>
void separable(Separable kind, const ProxTask<T>& task, std::int64_t row, std::int64_t begin,
               std::int64_t end) {
  switch (kind) {
#define LPGD_CASE(name, F, count) \
  case Separable::name:           \
    return forward<F, count>(task, row, begin, end);
    LPGD_FOR_EACH_SEPARABLE(LPGD_CASE)
#undef LPGD_CASE
  }
}

template <class T>
void separable_backward(Separable kind, const ProxTask<T>& task, std::int64_t row,
                        std::int64_t begin, std::int64_t end, double* sums) {
  constexpr bool kCanStream = ScalarTraits<Wide<T>>::lanes > 1;
  switch (kind) {
#define LPGD_CASE(name, F, count)                                                       \
  case Separable::name:                                                                 \
    return task.streaming ? backward<F, count, kCanStream>(task, row, begin, end, sums) \
                          : backward<F, count, false>(task, row, begin, end, sums);
    LPGD_FOR_EACH_SEPARABLE(LPGD_CASE)
#undef LPGD_CASE
  }
}

#define LPGD_INSTANTIATE(T)                                                                      \
  template void separable<T>(Separable, const ProxTask<T>&, std::int64_t, std::int64_t,          \
                             std::int64_t);                                                      \
  template void separable_backward<T>(Separable, const ProxTask<T>&, std::int64_t, std::int64_t, \
                                      std::int64_t, double*);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

LPGD_END_NAMESPACE
