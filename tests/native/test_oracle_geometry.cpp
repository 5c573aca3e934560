// How the oracles are laid out on devices, from a small one (48 KiB for a block) to an H100.
#include <cstdint>

#include "check.h"
#include "cuda/oracle_geometry.h"

using namespace lpgd::cuda;

namespace {

constexpr OracleDevice kSmall{14, 48 << 10}, kH100{132, 232448};
constexpr std::int64_t kMany = std::int64_t{1} << 33;  // more than 32 bits count

}  // namespace

LPGD_TEST(oracle_blocks_have_whole_warps) {
  int before = 0;
  for (const std::int64_t width : {std::int64_t{0}, std::int64_t{1}, std::int64_t{128},
                                   std::int64_t{129}, std::int64_t{4096}, kMany}) {
    const int threads = oracle_threads(width);
    CHECK(threads % 32 == 0 && threads >= 32 && threads <= kOracleMostThreads);
    CHECK(threads >= before);
    before = threads;
  }
  CHECK(before == kOracleMostThreads);
}

LPGD_TEST(oracle_items_that_fit_are_in_shared_memory) {
  for (const OracleDevice& device : {kSmall, kH100}) {
    const std::size_t most = device.shared_bytes - kOracleStaticShared;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{64}, most}) {
      for (const std::int64_t units : {std::int64_t{1}, std::int64_t{5000}, kMany}) {
        const OraclePlan plan = plan_oracle_blocks(device, units, 100, bytes);
        CHECK(plan.shared_bytes == bytes && plan.slice_bytes == 0 && plan.workspace_bytes == 0);
        CHECK(plan.blocks == (units < kOracleMostBlocks ? units : kOracleMostBlocks));
      }
    }
    const OraclePlan plan = plan_oracle_blocks(device, 9, 100, most + 1);
    CHECK(plan.shared_bytes == 0 && plan.slice_bytes > most);
  }
}

LPGD_TEST(oracle_items_that_do_not_fit_share_a_bounded_workspace) {
  for (const OracleDevice& device : {kSmall, kH100}) {
    for (const std::size_t bytes :
         {std::size_t{300'001}, std::size_t{5} << 20, kOracleMostWorkspace, std::size_t{3} << 31}) {
      for (const std::int64_t units : {std::int64_t{1}, std::int64_t{3}, kMany}) {
        const OraclePlan plan = plan_oracle_blocks(device, units, kMany, bytes);
        CHECK(plan.blocks >= 1 && plan.blocks <= units);
        CHECK(plan.blocks <= device.processors * kOracleBlocksAProcessor);
        CHECK(plan.slice_bytes >= bytes && plan.slice_bytes % kOracleLine == 0);
        CHECK(plan.workspace_bytes ==
              kOracleQueue + static_cast<std::size_t>(plan.blocks) * plan.slice_bytes);
        // a block that needs more than the bound works alone
        CHECK(plan.blocks == 1 || plan.workspace_bytes <= kOracleMostWorkspace + kOracleQueue);
      }
    }
  }
  CHECK(kOracleQueue % kOracleLine == 0);
}

LPGD_TEST(oracle_items_of_threads_are_all_in_a_block) {
  for (const std::int64_t items : {std::int64_t{1}, std::int64_t{31}, std::int64_t{32},
                                   std::int64_t{33}, kMany - 1, kMany, INT64_MAX}) {
    const std::int64_t blocks = oracle_item_blocks(items);
    CHECK((blocks - 1) * kOracleItemsABlock < items);
    CHECK(blocks - 1 == (items - 1) / kOracleItemsABlock);
  }
  CHECK(oracle_item_blocks(0) == 0);
}

LPGD_TEST(oracle_costs_are_copied_where_all_have_room) {
  constexpr std::size_t kBytes = 46'000;
  CHECK(copies_costs(kH100, 1, kBytes));
  CHECK(copies_costs(kH100, 132 * 4, kBytes));
  CHECK(!copies_costs(kH100, 132 * 4 + 1, kBytes));
  CHECK(!copies_costs(kH100, 132 * 6, kBytes));
  CHECK(!copies_costs(kH100, kMany, kBytes));
  CHECK(!copies_costs(kSmall, 1, 48 << 10));
  CHECK(copies_costs(kSmall, 14, kBytes));
}
