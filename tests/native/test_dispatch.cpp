// The choice of the instruction set: csrc/cpu/dispatch.cpp.
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <thread>
#include <vector>

#include "check.h"
#include "cpu/isa.h"

using lpgd::Isa;

LPGD_TEST(every_isa_has_its_own_name) {
  for (const Isa a : lpgd::kCompiledIsas) {
    CHECK(std::strcmp(lpgd::isa_name(a), "unknown") != 0);
    for (const Isa b : lpgd::kCompiledIsas)
      CHECK((std::strcmp(lpgd::isa_name(a), lpgd::isa_name(b)) == 0) == (a == b));
  }
}

LPGD_TEST(no_request_takes_the_best) {
  for (const Isa best : lpgd::kCompiledIsas) {
    for (const char* request : {static_cast<const char*>(nullptr), ""}) {
      bool honoured = false;
      CHECK(lpgd::choose_isa(request, best, &honoured) == best);
      CHECK(honoured);
    }
  }
}

LPGD_TEST(a_request_goes_down_but_never_up) {
  for (const Isa best : lpgd::kCompiledIsas) {
    for (const Isa wanted : lpgd::kCompiledIsas) {
      bool honoured = false;
      const Isa chosen = lpgd::choose_isa(lpgd::isa_name(wanted), best, &honoured);
      CHECK(honoured == (wanted <= best));
      CHECK(chosen == (wanted <= best ? wanted : best));
    }
  }
}

LPGD_TEST(an_unknown_request_is_told) {
  for (const char* request : {"sse9", "AVX2", "avx", "generic "}) {
    bool honoured = true;
    const Isa best = lpgd::kCompiledIsas[0];
    CHECK(lpgd::choose_isa(request, best, &honoured) == best);
    CHECK(!honoured);
  }
}

LPGD_TEST(detected_is_compiled_in) {
  bool found = false;
  for (const Isa isa : lpgd::kCompiledIsas) found = found || isa == lpgd::detected_isa();
  CHECK(found);
}

// The first use may come from several threads at once; under ThreadSanitizer this looks for a race.
LPGD_TEST(active_isa_is_one_answer_for_all_threads) {
  std::vector<Isa> seen(8);
  std::vector<std::thread> threads;
  for (Isa& answer : seen) threads.emplace_back([&answer] { answer = lpgd::active_isa(); });
  for (std::thread& thread : threads) thread.join();
  for (const Isa isa : seen) CHECK(isa == lpgd::active_isa());
  CHECK(lpgd::active_isa() ==
        lpgd::choose_isa(std::getenv("LPGD_ISA"), lpgd::detected_isa(), nullptr));
}
