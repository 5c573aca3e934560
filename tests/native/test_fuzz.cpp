// Replays the fuzzer's inputs (tests/fuzz/corpus) through its targets, with the kernels of the
// instruction set that runs here; LPGD_FUZZ_CORPUS names the folder.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "check.h"

int lpgd_fuzz_eit(const unsigned char* data, unsigned long size);
int lpgd_fuzz_networks(const unsigned char* data, unsigned long size);
int lpgd_fuzz_oracle(const unsigned char* data, unsigned long size);
int lpgd_fuzz_pdhg(const unsigned char* data, unsigned long size);
int lpgd_fuzz_prox(const unsigned char* data, unsigned long size);
int lpgd_fuzz_qp(const unsigned char* data, unsigned long size);

namespace {

// Each input, and cut short, which is another problem.
void replay(const char* name, int (*target)(const unsigned char*, unsigned long)) {
  std::vector<std::filesystem::path> files;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(LPGD_FUZZ_CORPUS) / name))
    files.push_back(file.path());
  std::sort(files.begin(), files.end());
  CHECK(!files.empty());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    CHECK(target(data, bytes.size()) == 0);
    CHECK(target(data, bytes.size() / 2) == 0);
  }
}

}  // namespace

LPGD_TEST(fuzz_corpus_of_eit) { replay("eit", lpgd_fuzz_eit); }
LPGD_TEST(fuzz_corpus_of_networks) { replay("networks", lpgd_fuzz_networks); }
LPGD_TEST(fuzz_corpus_of_oracle) { replay("oracle", lpgd_fuzz_oracle); }
LPGD_TEST(fuzz_corpus_of_pdhg) { replay("pdhg", lpgd_fuzz_pdhg); }
LPGD_TEST(fuzz_corpus_of_prox) { replay("prox", lpgd_fuzz_prox); }
LPGD_TEST(fuzz_corpus_of_qp) { replay("qp", lpgd_fuzz_qp); }
