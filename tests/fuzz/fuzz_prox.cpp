// The proximal operators, forward and backward, separable ones and those on rows.
#include "cpu/prox.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

constexpr int kCounts[] = {
#define LPGD_COUNT(name, type, count) count,
    LPGD_FOR_EACH_SEPARABLE(LPGD_COUNT)
#undef LPGD_COUNT
};
constexpr int kRowCounts[] = {
#define LPGD_COUNT(name, type, count) count,
    LPGD_FOR_EACH_ROWWISE(LPGD_COUNT)
#undef LPGD_COUNT
};
constexpr int kSeparables = sizeof(kCounts) / sizeof(kCounts[0]);
constexpr int kRowwise = sizeof(kRowCounts) / sizeof(kRowCounts[0]);

bool sorts(Rowwise kind) { return kind == Rowwise::sorted_l1 || kind == Rowwise::permutahedron; }

template <class T>
void one(Input& in) {
  const bool on_rows = in.flag();
  const int code = in.between(0, (on_rows ? kRowwise : kSeparables) - 1);
  const auto row_kind = static_cast<Rowwise>(code);
  const auto separable_kind = static_cast<Separable>(code);
  const int count = on_rows ? kRowCounts[code] : kCounts[code];
  ProxTask<T> task{};
  task.rows = in.between(1, 6);
  task.n = on_rows && row_kind == Rowwise::exponential_cone ? 3 : in.between(1, 40);
  const auto rows = static_cast<std::size_t>(task.rows), n = static_cast<std::size_t>(task.n);
  task.streaming = in.between(0, 7) == 0;
  in.tame(in.flag());
  const std::vector<T> x = in.numbers<T>(task.rows * task.n);
  task.x = x.data();
  std::vector<T> parameters[kProxParameters], gradients[kProxParameters];
  for (int k = 0; k < count; ++k) {
    // as the Python layer has it: total variation's along a row is one a number, the last unused
    const bool each_row = in.flag(), each_column = in.flag();
    std::vector<T>& values = parameters[k];
    values =
        in.numbers<T>(static_cast<std::int64_t>((each_row ? rows : 1) * (each_column ? n : 1)));
    if (in.flag())
      for (T& value : values) value = std::abs(value);
    task.parameters[k] = {values.data(),
                          each_row ? static_cast<std::int64_t>(each_column ? n : 1) : 0,
                          each_column ? 1 : 0};
    gradients[k].assign(rows * (each_column ? n : 1), T(0));
    task.gradient_parameters[k] = {
        gradients[k].data(), static_cast<std::int64_t>(each_column ? n : 1), each_column ? 1 : 0};
  }
  std::vector<std::int32_t> index;
  if (on_rows && row_kind == Rowwise::group_l2) {
    for (std::size_t i = 0; i < n; ++i) index.push_back(static_cast<std::int32_t>(n - 1 - i));
    task.groups = in.between(1, 5);
    std::int32_t at = 0;
    for (int k = 0; k < task.groups; ++k) {
      index.push_back(at);
      at = static_cast<std::int32_t>(at + in.between(0, static_cast<int>(n) - at));
    }
    index.push_back(static_cast<std::int32_t>(n));
    task.index = index.data();
  }
  std::vector<T> out(rows * n, T(7)), gx(rows * n, T(7));
  std::vector<std::int32_t> order(on_rows && sorts(row_kind) ? rows * n : 0);
  const std::vector<T> gradient = in.numbers<T>(task.rows * task.n);
  task.out = out.data();
  task.order = order.data();
  task.gradient = gradient.data();
  task.gradient_x = gx.data();

  const ProxKernelsOf<T>& kernels = prox_kernels().of<T>();
  if (!on_rows) {
    double sums[2] = {0, 0};
    for (std::int64_t row = 0; row < task.rows; ++row) {
      kernels.separable(separable_kind, task, row, 0, task.n);
      kernels.separable_backward(separable_kind, task, row, 0, task.n, sums);
    }
    return;
  }
  const Room scratch(kernels.scratch_bytes(row_kind, task.n));
  kernels.rows(row_kind, task, 0, task.rows, scratch.get());
  for (const std::int32_t mark : order) {  // ~place where a level begins
    const std::int32_t place = mark < 0 ? ~mark : mark;
    LPGD_HOLDS(place >= 0 && place < task.n);
  }
  // a row is what it is alone, whatever its neighbours in a register are
  const std::vector<T> whole = out;
  for (std::int64_t row = 0; row < task.rows; ++row)
    kernels.rows(row_kind, task, row, row + 1, scratch.get());
  for (std::size_t i = 0; i < whole.size(); ++i)
    LPGD_HOLDS(whole[i] == out[i] || (std::isnan(whole[i]) && std::isnan(out[i])));
  kernels.rows_backward(row_kind, task, 0, task.rows, scratch.get());
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_prox(const unsigned char* data, unsigned long size);
int lpgd_fuzz_prox(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
