// What crosses between the layers of the combinatorial oracles: argmin <c, x> over a finite set of
// x, an item of the batch each. Plain structs of pointers and sizes.
#pragma once

#include <cstdint>

namespace lpgd {

// Values of lpgd_native.Status
enum OracleStatus : std::int32_t {
  kOracleOk = 0,
  kOracleStopped = 1,     // the limit of nodes was met: x is the best found
  kOracleInfeasible = 2,  // no x is allowed
  kOracleBadData = 4,     // nan, or a cost that the problem does not allow
};

template <class T>
struct OracleOutput {
  T* x;          // zero where the status says that there is no solution
  T* objective;  // [batch]; nan there
  std::int32_t* status;
};

// Every row to a column of its own, n <= m: x [n, m]. A cost of +inf forbids a pair.
template <class T>
struct AssignmentTask {
  std::int64_t n, m;
  const T* costs;  // [batch, n, m], or [batch, m, n] where `transposed`
  bool transposed;
  OracleOutput<T> out;    // x as the costs are laid out, or null
  std::int64_t* columns;  // [batch, n]
  T *u, *v;               // [batch, n], [batch, m]: optimal duals
  bool in_place;          // a group of lanes reads the costs where they are: not where `transposed`
};

// From a cell of a grid to another: x [height, width] marks the cells of the path, both ends
// included. Costs are not negative; +inf is a wall.
template <class T>
struct GridTask {
  std::int64_t height, width;
  std::int64_t source, target;  // row * width + column
  bool diagonal;                // eight neighbours, else four
  const T* costs;
  OracleOutput<T> out;
};

// From a node to another along edges of an acyclic graph: x [edges]. +inf closes an edge.
// Index: int32 where the graph has been checked; int64, as it was given, where it has not been and
// each item looks at what it reads.
template <class T, class Index = std::int32_t>
struct DagTask {
  std::int64_t nodes, edges;
  std::int64_t source, target;
  const Index *tail, *head;  // [edges], by the topological order of their tails
  const Index* edge;         // their places in c and x
  const T* costs;
  OracleOutput<T> out;
};

// The k smallest: x [n]
template <class T>
struct TopKTask {
  std::int64_t n, k;
  const T* costs;
  OracleOutput<T> out;
};

// The order of `values` that the costs like best: x [n]
template <class T>
struct RankingTask {
  std::int64_t n;
  const T* values;  // [n], not decreasing
  const T* costs;
  OracleOutput<T> out;
};

// A table has a state for each way to use up the capacity, which takes whole weights. `any`: a
// table where the weights are whole and it is small, else branch and bound.
enum class KnapsackMethod : std::int32_t { any = 0, table = 1, branch = 2 };
constexpr std::int64_t kKnapsackSmallTable = std::int64_t{1} << 20;  // items times states
constexpr std::int64_t kKnapsackLargestTable = std::int64_t{1} << 30;

// Items of values -c within `capacity`, in each of `dims` resources: x [n]
template <class T>
struct KnapsackTask {
  std::int64_t n, dims;
  const double* weights;  // [dims, n] an item of the batch, not negative
  std::int64_t stride_weights;
  const double* capacity;  // [dims]
  std::int64_t stride_capacity;
  KnapsackMethod method;
  std::int64_t most_states;  // items with more of them have no table
  std::int64_t room_states;  // what the workspace holds of them
  std::int64_t most_nodes;   // branch and bound
  const T* costs;
  OracleOutput<T> out;
};

// A spanning tree of a graph: x [edges]. +inf forbids an edge.
template <class T, class Index = std::int32_t>
struct TreeTask {
  std::int64_t nodes, edges;
  const Index *tail, *head;
  const T* costs;
  OracleOutput<T> out;
};

// A path from (0, 0) to (n - 1, m - 1) by steps down, right or both: x [n, m]. +inf forbids a
// cell, and so does a distance from the diagonal above `window`, where that is not negative.
template <class T>
struct AlignmentTask {
  std::int64_t n, m;
  std::int64_t window;
  const T* costs;
  OracleOutput<T> out;
};

}  // namespace lpgd
