// The recurrent momentum as a CUDA block runs it, on host threads: against the CPU's loops, for any
// number of lanes; and the launch geometry.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/momentum_coordinate_backward.h"
#include "core/momentum_dense.h"
#include "core/momentum_rows.h"
#include "core/momentum_rows_backward.h"
#include "core/momentum_units.h"
#include "cuda/momentum_geometry.h"
#include "thread_group.h"

using namespace lpgd;
using lpgd::test::ThreadTeam;

namespace {

using Numbers = std::vector<double>;

Numbers numbers(std::int64_t count, int seed) {
  Numbers out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = 0.5 * std::sin(1.0 + 0.7 * static_cast<double>(i) * (seed + 1));
  return out;
}

double largest_difference(const Numbers& a, const Numbers& b) {
  double out = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= out)) out = difference;  // nan as well
  }
  return out;
}

// All arrays of the per-coordinate form, each of its exact size.
struct Coordinates {
  CoordinateTask<double> task{};
  std::vector<Numbers> weights;
  Numbers w_out, b_out, x, h, c, d_v, d_h_out, d_c_out;
  Numbers v, h_out, c_out, d_x, d_h, d_c, sums;

  Coordinates(MomentumCell cell, int rows, int layers, int hidden) {
    const int width = cell_rows(cell) * hidden;
    const bool lstm = cell == MomentumCell::kLstm;
    for (int l = 0; l < layers; ++l) {
      weights.push_back(numbers(width * (l == 0 ? 1 : hidden), 4 * l));
      weights.push_back(numbers(width * hidden, 4 * l + 1));
      weights.push_back(numbers(width, 4 * l + 2));
      weights.push_back(numbers(width, 4 * l + 3));
    }
    w_out = numbers(layers * hidden, 40);
    b_out = numbers(1, 41);
    x = d_v = numbers(rows, 42);
    const int state = layers * hidden * rows;
    h = numbers(state, 43);
    c = numbers(lstm ? state : 0, 44);
    d_h_out = numbers(state, 45);
    d_c_out = numbers(lstm ? state : 0, 46);
    v = d_x = numbers(rows, 0);
    h_out = d_h = numbers(state, 0);
    c_out = d_c = numbers(lstm ? state : 0, 0);
    sums = numbers(coordinate_weight_count(cell, layers, hidden), 0);
    task.cell = cell;
    task.rows = rows;
    task.layers = layers;
    task.hidden = hidden;
  }

  // copies bind to their own arrays
  const CoordinateTask<double>& bound(bool gradients) {
    for (int l = 0; l < task.layers; ++l) {
      const auto at = static_cast<std::size_t>(4 * l);
      task.weights[l] = {weights[at].data(), weights[at + 1].data(), weights[at + 2].data(),
                         weights[at + 3].data()};
    }
    const bool lstm = task.cell == MomentumCell::kLstm;
    task.w_out = w_out.data();
    task.b_out = b_out.data();
    task.x = x.data();
    task.h = h.data();
    task.c = lstm ? c.data() : nullptr;
    task.v = v.data();
    task.h_out = h_out.data();
    task.c_out = lstm ? c_out.data() : nullptr;
    task.d_v = gradients ? d_v.data() : nullptr;
    task.d_h_out = d_h_out.data();
    task.d_c_out = lstm && gradients ? d_c_out.data() : nullptr;
    task.d_x = d_x.data();
    task.d_h = d_h.data();
    task.d_c = lstm ? d_c.data() : nullptr;
    return task;
  }
};

// What the kernels of momentum_coordinate.cu do, with `lanes` threads a block.
template <MomentumCell cell>
void run_blocks(Coordinates& on, bool gradients, int lanes, int blocks, int stage) {
  const CoordinateTask<double>& task = on.bound(gradients);
  const int step = lanes * blocks, H = task.hidden, L = task.layers;
  std::vector<Quad<double>> shared(static_cast<std::size_t>(2 * stage));
  const RowMemory<double> memory{shared.data(), stage};
  Numbers workspace(static_cast<std::size_t>(lanes * H * (6 * L + 1)));
  RowWork<double> work;
  work.bind(L, H, lanes, workspace.data());
  const std::size_t count = on.sums.size();
  Numbers parts(count * static_cast<std::size_t>(blocks), std::nan(""));  // each is written first
  ThreadTeam team(lanes);
  team.run([&](const auto& group) {
    for (int block = 0; block < blocks; ++block) {
      const std::int64_t begin = std::int64_t{block} * lanes;
      for (std::int64_t row = begin; row < task.rows; row += step)
        rows_forward<cell>(group, task, row, memory);
      for (std::int64_t row = begin; row < task.rows; row += step)
        rows_backward<cell>(group, task, row, memory, work,
                            parts.data() + static_cast<std::size_t>(block) * count, row == begin);
    }
  });
  Numbers lane_sums(static_cast<std::size_t>(lanes));
  team.run([&](const auto& group) {
    const auto total = static_cast<std::int64_t>(count);
    for (std::int64_t at = 0; at < total; at += kPartColumns)
      add_parts(group, parts.data(), blocks, total, at, on.sums.data(), on.sums.data(), total,
                lane_sums.data());
  });
}

void run_on_cpu(Coordinates& on, bool gradients) {
  const CoordinateTask<double>& task = on.bound(gradients);
  Numbers workspace(CoordinateWork<double>::scalars(task.layers, task.hidden));
  coordinate_forward(task, 0, task.rows, workspace.data());
  on.sums.assign(on.sums.size(), 0.0);
  coordinate_backward(task, 0, task.rows, workspace.data(), on.sums.data());
}

template <MomentumCell cell>
void coordinates_agree(int rows, int layers, int hidden, int lanes, int blocks, int stage,
                       bool gradients = true) {
  Coordinates one(cell, rows, layers, hidden);
  Coordinates many(one);
  run_on_cpu(one, gradients);
  run_blocks<cell>(many, gradients, lanes, blocks, stage);
  CHECK(largest_difference(one.v, many.v) < 1e-13);
  CHECK(largest_difference(one.h_out, many.h_out) < 1e-13);
  CHECK(largest_difference(one.c_out, many.c_out) < 1e-13);
  CHECK(largest_difference(one.d_x, many.d_x) < 1e-13);
  CHECK(largest_difference(one.d_h, many.d_h) < 1e-13);
  CHECK(largest_difference(one.d_c, many.d_c) < 1e-13);
  CHECK(largest_difference(one.sums, many.sums) < 1e-12);
}

template <class Task>
void set_sizes(Task& task, MomentumCell cell, int batch, int hidden) {
  task.cell = cell;
  task.batch = batch;
  task.hidden = hidden;
}

void cells_agree(MomentumCell cell, int lanes) {
  const int batch = 3, H = 7, rows = cell_rows(cell) * H;
  const Numbers b_ih = numbers(rows, 0), b_hh = numbers(rows, 1), from_h = numbers(batch * rows, 2);
  const Numbers h = numbers(batch * H, 3), c = numbers(batch * H, 4);
  Numbers gates[2], h_out[2], c_out[2], d_gates[2], d_state[2];
  for (int k = 0; k < 2; ++k) {
    gates[k] = numbers(batch * 4 * H, 5);
    h_out[k] = c_out[k] = d_state[k] = numbers(batch * H, 6);
    d_gates[k] = numbers(batch * 4 * H, 7);
    CellTask<double> task{};
    set_sizes(task, cell, batch, H);
    task.weights.b_ih = b_ih.data();
    task.weights.b_hh = b_hh.data();
    task.from_h = from_h.data();
    task.h = h.data();
    task.c = c.data();
    task.gates = gates[k].data();
    task.h_out = h_out[k].data();
    task.c_out = c_out[k].data();
    CellBackwardTask<double> back{};
    set_sizes(back, cell, batch, H);
    back.gates = gates[k].data();
    back.h = h.data();
    back.c = c.data();
    back.c_out = c_out[k].data();
    back.d_h_given = h.data();
    back.d_h_output = from_h.data() + 1;
    back.d_h_output_stride = 2 * H;
    back.d_c_given = c.data();
    back.d_gates = d_gates[k].data();
    back.d_c = back.d_h_direct = d_state[k].data();
    if (k == 0) {
      activate_items(task, 0, batch);
      cell_backward_items(back, 0, batch);
    } else {
      ThreadTeam team(lanes);
      team.run([&](const auto& group) {
        activate_entries(task, group.lane(), group.size());
        group.sync();  // between two kernels
        cell_backward_entries(back, group.lane(), group.size());
      });
    }
  }
  CHECK(largest_difference(gates[0], gates[1]) < 1e-14);
  CHECK(largest_difference(h_out[0], h_out[1]) < 1e-14);
  CHECK(largest_difference(c_out[0], c_out[1]) < 1e-14);
  CHECK(largest_difference(d_gates[0], d_gates[1]) < 1e-14);
  CHECK(largest_difference(d_state[0], d_state[1]) < 1e-14);
}

}  // namespace

LPGD_TEST(cells_agree_on_any_lanes) {
  for (const int lanes : {1, 2, 32, 96})
    for (const MomentumCell cell : {MomentumCell::kLstm, MomentumCell::kGru})
      cells_agree(cell, lanes);
}

LPGD_TEST(states_of_all_layers_are_joined) {
  const int batch = 3, layers = 2, hidden = 5, stride = 40;
  const Numbers states = numbers(stride + batch * hidden, 0);
  Numbers joined(batch * layers * hidden);
  ThreadTeam team(7);
  team.run([&](const auto& group) {
    join_entries(states.data(), stride, batch, layers, hidden, joined.data(), group.lane(),
                 group.size());
  });
  for (int b = 0; b < batch; ++b)
    for (int l = 0; l < layers; ++l)
      for (int j = 0; j < hidden; ++j)
        CHECK_NEAR(joined[(b * layers + l) * hidden + j], states[l * stride + b * hidden + j], 0);
}

LPGD_TEST(coordinates_agree_on_any_lanes) {
  constexpr MomentumCell lstm = MomentumCell::kLstm, gru = MomentumCell::kGru;
  for (const int lanes : {1, 2, 32, 96}) {
    const int rows = lanes < 32 ? 7 : lanes + 5;
    coordinates_agree<lstm>(rows, 2, 5, lanes, 1, 64);
    coordinates_agree<gru>(rows, 2, 5, lanes, 1, 64);
  }
  // several blocks, of which the last has fewer rows; no gradient of v and c'
  coordinates_agree<lstm>(37, 1, 3, 8, 3, 64);
  coordinates_agree<gru>(37, 1, 3, 8, 3, 64, false);
  coordinates_agree<lstm>(37, 2, 4, 8, 2, 64, false);
  // weights that shared memory has no room for: pieces along units, and along inputs
  coordinates_agree<lstm>(9, 2, 13, 4, 1, 64);
  coordinates_agree<gru>(9, 2, 13, 4, 1, 64);
  coordinates_agree<lstm>(5, 2, 21, 4, 1, 32);
  coordinates_agree<gru>(5, 2, 21, 4, 1, 32);
}

LPGD_TEST(parts_are_added_in_one_order) {
  const int number = 5;
  for (const int count : {1, 31, 70}) {
    const Numbers parts = numbers(number * count, 3);
    for (const int lanes : {1, 2, 32, 96}) {
      Numbers total(static_cast<std::size_t>(count / 2)), rest(static_cast<std::size_t>(count));
      Numbers memory(static_cast<std::size_t>(lanes));
      ThreadTeam team(lanes);
      team.run([&](const auto& group) {
        for (std::int64_t at = 0; at < count; at += kPartColumns)
          add_parts(group, parts.data(), number, count, at, total.data(), rest.data(), count / 2,
                    memory.data());
      });
      for (int i = 0; i < count; ++i) {
        double sum = 0;
        for (int k = 0; k < number; ++k) sum += parts[static_cast<std::size_t>(k * count + i)];
        CHECK_NEAR(i < count / 2 ? total[static_cast<std::size_t>(i)]
                                 : rest[static_cast<std::size_t>(i - count / 2)],
                   sum, 1e-15);
      }
    }
  }
}

LPGD_TEST(outer_sums_fit_their_memory) {
  for (const int room : {kLeastOuterRoom, 512, 2048, 10240})
    for (const int units : {1, 5, 20, 1024})
      for (const int inputs : {1, 4, 42, 2049}) {
        const OuterBlock block = outer_block(units, inputs, 128, room);
        CHECK(block.units >= 1 && block.units <= units);
        CHECK(block.inputs >= 2 && block.inputs % 2 == 0 && block.inputs <= inputs + 1);
        CHECK(block.stride >= 4 * block.units + block.inputs && block.stride % 8 == 4);
        CHECK(block.rows >= 1 && block.rows <= 128 && block.rows * block.stride <= room);
      }
}

LPGD_TEST(momentum_launches_cover_their_entries) {
  using namespace lpgd::cuda;
  CHECK(entry_blocks(0) == 0);
  CHECK(entry_blocks(1) == 1);
  CHECK(entry_blocks(256) == 1);
  CHECK(entry_blocks(257) == 2);
  for (const std::int64_t count : {std::int64_t{1} << 31, std::int64_t{3} << 33}) {
    CHECK(entry_blocks(count) == kMostEntryBlocks);  // threads take several
    CHECK(place_of(count + 5, 7).row == (count + 5) / 7);
    CHECK(place_of(count + 5, 7).column == (count + 5) % 7);
  }
  CHECK(place_of(0xffffffffLL, 10).row == 429496729);
  CHECK(sum_blocks(0) == 0);
  CHECK(sum_blocks(33) == 2);
  for (const int bytes : {4, 8})
    for (const int hidden : {1, 5, 20, 32, 50, 1024})
      for (const std::int64_t rows :
           {std::int64_t{0}, std::int64_t{1}, std::int64_t{100000}, (std::int64_t{1} << 33) + 1}) {
        const RowGeometry forward = row_geometry(rows, hidden, bytes);
        CHECK((forward.blocks == 0) == (rows == 0) && forward.blocks <= kMostEntryBlocks);
        CHECK(forward.shared_bytes <= 48 << 10);  // no device refuses that
        CHECK(forward.stage >= kUnitTile && 8 * forward.stage >= kLeastOuterRoom);
        const std::int64_t sums = coordinate_weight_count(MomentumCell::kLstm, 8, hidden);
        const RowGeometry backward = row_backward_geometry(rows, 8, hidden, sums, bytes);
        CHECK((backward.blocks == 0) == (rows == 0) && backward.blocks <= kMostRowBlocks);
        CHECK(backward.blocks <= 1 || backward.workspace() * bytes <= kMostRowBytes);
      }
}
