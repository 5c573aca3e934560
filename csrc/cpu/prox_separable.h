// Separable operators, for the table of prox.cpp: one copy per instruction set.
#pragma once

#include "core/macros.h"
#include "core/prox_types.h"

LPGD_BEGIN_NAMESPACE

template <class T>
void separable(Separable kind, const ProxTask<T>& task, std::int64_t row, std::int64_t begin,
               std::int64_t end);
template <class T>
void separable_backward(Separable kind, const ProxTask<T>& task, std::int64_t row,
                        std::int64_t begin, std::int64_t end, double* sums);

LPGD_END_NAMESPACE
