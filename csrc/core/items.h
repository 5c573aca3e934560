// How the workers of a GPU (warps or blocks) share a batch out: each takes the next item from a
// counter when it is done with one, so that none waits for a neighbour's hard item.
#pragma once

#include "group.h"

LPGD_BEGIN_NAMESPACE

// body(item) for every item < count that `counter.next()` hands to this group; next() is called by
// lane 0. What an item's result is must not depend on who computes it.
template <class Group, class Counter, class Body>
LPGD_INLINE void for_items(const Group& g, Counter& counter, std::int64_t count, const Body& body) {
  for (;;) {
    std::int64_t item = 0;
    if (g.lane() == 0) item = counter.next();
    item = g.first(item);
    if (item >= count) return;
    body(item);
  }
}

LPGD_END_NAMESPACE
