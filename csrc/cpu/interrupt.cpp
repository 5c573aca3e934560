#include "cpu/interrupt.h"

#include <csignal>

#if defined(__linux__)
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lpgd {

#if defined(__linux__)

namespace {

// Flags are read by all threads of a loop and set in a signal handler: lock-free, by the compiler's
// own atomics.
int signal_came = 0;
int loop_stops = 0;
struct sigaction handled_before;
pthread_t watched_thread;
bool (*question_of_python)() = nullptr;

int read(const int& flag) { return __atomic_load_n(&flag, __ATOMIC_RELAXED); }
void write(int& flag, int value) { __atomic_store_n(&flag, value, __ATOMIC_RELAXED); }

void note(int signal, siginfo_t* info, void* context) {
  write(signal_came, 1);
  if ((handled_before.sa_flags & SA_SIGINFO) != 0)
    handled_before.sa_sigaction(signal, info, context);
  else
    handled_before.sa_handler(signal);
}

bool is_main_thread() { return getpid() == static_cast<pid_t>(syscall(SYS_gettid)); }

bool has_handler(const struct sigaction& action) {
  if ((action.sa_flags & SA_SIGINFO) != 0) return action.sa_sigaction != nullptr;
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

}  // namespace

InterruptWatch::InterruptWatch(bool wanted) : watching_(false) {
  if (!wanted || question_of_python == nullptr || !is_main_thread()) return;
  if (sigaction(SIGINT, nullptr, &handled_before) != 0 || !has_handler(handled_before)) return;
  write(signal_came, 0);
  write(loop_stops, 0);
  watched_thread = pthread_self();
  struct sigaction ours = {};
  ours.sa_sigaction = note;
  ours.sa_mask = handled_before.sa_mask;
  ours.sa_flags = handled_before.sa_flags | SA_SIGINFO;
  watching_ = sigaction(SIGINT, &ours, nullptr) == 0;
}

InterruptWatch::~InterruptWatch() {
  if (watching_) sigaction(SIGINT, &handled_before, nullptr);
}

bool InterruptWatch::is_stopped() {
  if (read(loop_stops) != 0) return true;
  if (read(signal_came) == 0 || pthread_equal(pthread_self(), watched_thread) == 0) return false;
  write(signal_came, 0);
  if (question_of_python()) write(loop_stops, 1);
  return read(loop_stops) != 0;
}

void set_interrupt_question(bool (*question)()) { question_of_python = question; }

#else

InterruptWatch::InterruptWatch(bool) : watching_(false) {}
InterruptWatch::~InterruptWatch() = default;
bool InterruptWatch::is_stopped() { return false; }
void set_interrupt_question(bool (*)()) {}

#endif

}  // namespace lpgd
