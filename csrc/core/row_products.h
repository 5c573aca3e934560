// Products of many rows with one small matrix, and sums over the rows of products of their entries:
// what small networks at every coordinate or position are made of, on many lanes.
//
// Matrices are handled in quads, four of their rows that belong together: the gates of a unit, or
// four channels. A quad lies side by side in shared memory, where one instruction reads it for
// lanes that all want the same one. Only pieces of a matrix are there where it is large.
#pragma once

#include "group.h"

LPGD_BEGIN_NAMESPACE

template <class T>
struct alignas(16) Quad {
  T v[4];
};

template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T v[2];
};

// Lines of an array that lie `step` apart, one after the other.
template <class T>
struct Lines {
  const T* base;
  std::int64_t step;
  const T* at = nullptr;

  LPGD_INLINE void seek(int i) { at = base + i * step; }
  LPGD_INLINE T next() {
    const T value = *at;
    at += step;
    return value;
  }
};

// A matrix [inputs, quads], of which a piece is in `memory` (shared): all inputs of as many quads
// as there is room for, a multiple of the tile; or some inputs of a tile.
template <class T>
struct QuadStage {
  Quad<T>* memory;
  int quads, inputs;
  int piece_quads, piece_inputs;

  // room for `capacity` >= tile quads
  LPGD_INLINE void bind(Quad<T>* to, int capacity, int all_quads, int all_inputs, int tile) {
    memory = to;
    quads = all_quads;
    inputs = all_inputs;
    const int padded = (quads + tile - 1) / tile * tile, room = capacity / inputs / tile * tile;
    const bool whole = room >= tile;
    piece_quads = !whole ? tile : room < padded ? room : padded;
    piece_inputs = whole ? inputs : capacity / tile;
  }
};

// sums[u] += sum over inputs i of weight(i, first + u) * input i, for a tile of J quads. `first`
// runs over the multiples of J from zero on, on all lanes alike; a lane that is not active helps to
// fetch alone.
template <int J, class Group, class T, class Weight, class Input>
LPGD_INLINE void quad_products(const Group& g, const QuadStage<T>& stage, const Weight& weight,
                               int first, bool active, Input input, Quad<T> (&sums)[J]) {
  const int offset = first % stage.piece_quads;
  for (int from = 0; from < stage.inputs; from += stage.piece_inputs) {
    const int left = stage.inputs - from;
    const int count = left < stage.piece_inputs ? left : stage.piece_inputs;
    if (stage.piece_inputs < stage.inputs || offset == 0) {
      g.sync();  // the piece before has been read
      LPGD_FOR (g, e, count * stage.piece_quads) {
        const int quad = e / count, i = e % count;
        stage.memory[i * stage.piece_quads + quad] =
            first + quad < stage.quads ? weight(from + i, first + quad) : Quad<T>{};
      }
      g.sync();
    }
    if (!active) continue;
    const Quad<T>* line = stage.memory + offset;
    input.seek(from);
    for (int i = 0; i < count; ++i, line += stage.piece_quads) {
      const T value = input.next();
      LPGD_UNROLL
      for (int u = 0; u < J; ++u) {
        LPGD_UNROLL
        for (int q = 0; q < 4; ++q) sums[u].v[q] += line[u].v[q] * value;
      }
    }
  }
}

// How outer_sums cuts up its work: units and inputs of a block, rows of both in memory at a time.
struct OuterBlock {
  int units, inputs, stride, rows;
};
inline constexpr int kOuterRows = 16;  // wanted at least; smaller blocks then
// the room, in numbers, that any work fits in
inline constexpr int kLeastOuterRoom = 16 * kOuterRows;

LPGD_INLINE OuterBlock outer_block(int units, int inputs, int rows, int room) {
  OuterBlock block{units, (inputs + 1) / 2 * 2, 0, 0};
  for (;;) {
    const int quads = block.units + (block.inputs + 3) / 4;
    block.stride = 4 * (quads | 1);  // an odd number of quads: rows start in different banks
    if (block.stride * kOuterRows <= room || (block.units == 1 && block.inputs == 2)) break;
    if (4 * block.units >= block.inputs && block.units > 1)
      block.units = (block.units + 1) / 2;
    else
      block.inputs = (block.inputs + 2) / 4 * 2;
  }
  const int fit = room / block.stride;
  block.rows = rows < fit ? rows : fit;
  return block;
}

// add(u, i, sum, fresh) with the sum over rows of left(u, row) * right(i, row), for all units u and
// inputs i: in several parts, of which the first is `fresh`, all on the same lane. Every lane has
// two inputs of a unit. `memory`: `room` numbers, shared.
template <class Group, class T, class Left, class Right, class Add>
LPGD_INLINE void outer_sums(const Group& g, T* memory, int room, int units, int inputs, int rows,
                            const Left& left, const Right& right, const Add& add) {
  const OuterBlock block = outer_block(units, inputs, rows, room);
  for (int unit = 0; unit < units; unit += block.units) {
    const int us = units - unit < block.units ? units - unit : block.units;
    for (int input = 0; input < inputs; input += block.inputs) {
      const int is = inputs - input < block.inputs ? inputs - input : block.inputs;
      const int pairs = (is + 1) / 2;
      for (int row = 0; row < rows; row += block.rows) {
        const int count = rows - row < block.rows ? rows - row : block.rows;
        g.sync();
        LPGD_FOR (g, e, count * us) {
          const int u = e / count, r = e % count;
          *reinterpret_cast<Quad<T>*>(memory + r * block.stride + 4 * u) = left(unit + u, row + r);
        }
        LPGD_FOR (g, e, count * 2 * pairs) {
          const int i = e / count, r = e % count;
          memory[r * block.stride + 4 * block.units + i] =
              i < is ? right(input + i, row + r) : T(0);
        }
        g.sync();
        LPGD_FOR (g, t, us * pairs) {
          const int u = t / pairs, i = t % pairs * 2;
          Quad<T> sums[2] = {};
          const T* line = memory;
          for (int r = 0; r < count; ++r, line += block.stride) {
            const Quad<T> a = *reinterpret_cast<const Quad<T>*>(line + 4 * u);
            const auto b = *reinterpret_cast<const Pair<T>*>(line + 4 * block.units + i);
            LPGD_UNROLL
            for (int k = 0; k < 2; ++k) {
              LPGD_UNROLL
              for (int q = 0; q < 4; ++q) sums[k].v[q] += a.v[q] * b.v[k];
            }
          }
          add(unit + u, input + i, sums[0], row == 0);
          if (i + 1 < is) add(unit + u, input + i + 1, sums[1], row == 0);
        }
      }
    }
  }
}

// total[i] = sum over parts k of parts[k * count + i], always in the same order, for the entries
// `from` to from + kPartColumns. Entries from `split` on go to `rest`. `memory`: a number a lane,
// shared.
inline constexpr int kPartColumns = 32;

template <class Group, class T>
LPGD_INLINE void add_parts(const Group& g, const T* parts, std::int64_t number, std::int64_t count,
                           std::int64_t from, T* total, T* rest, std::int64_t split, T* memory) {
  const int columns = g.size() < kPartColumns ? g.size() : kPartColumns;
  const int lines = g.size() / columns;  // lanes beyond the last whole line have nothing to do
  const int column = g.lane() % columns, line = g.lane() / columns;
  for (int at = 0; at < kPartColumns; at += columns) {
    const std::int64_t entry = from + at + column;
    const bool here = line < lines && at + column < kPartColumns && entry < count;
    T sum = T(0);
    if (here)
      for (std::int64_t k = line; k < number; k += lines) sum += parts[k * count + entry];
    memory[g.lane()] = sum;
    g.sync();
    if (here && line == 0) {
      for (int l = 1; l < lines; ++l) sum += memory[l * columns + column];
      if (entry < split)
        total[entry] = sum;
      else
        rest[entry - split] = sum;
    }
    g.sync();
  }
}

LPGD_END_NAMESPACE
