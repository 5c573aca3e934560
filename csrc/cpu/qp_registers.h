// Which registers the dense kernels of a quadratic program run in.
#pragma once

#include "cpu/lanes.h"

LPGD_BEGIN_NAMESPACE

// Packs of eight doubles outgrow the caches earlier than packs of four, and some processors do two
// multiply-adds of 32 bytes at a time or one of 64: the wider ones are for small problems.
constexpr int kWideRegister = kRegisterBytes;
constexpr int kRegister = kRegisterBytes < 32 ? kRegisterBytes : 32;
constexpr int kRowRegister = kRegister > 16 ? kRegister : 16;  // along a row nothing is blended

LPGD_END_NAMESPACE
