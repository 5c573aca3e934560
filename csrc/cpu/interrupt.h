// Ctrl-C while a long loop over a batch runs.
#pragma once

namespace lpgd {

// While one lives, SIGINT is handled as before and noted as well; the loop asks stopped() between
// its items. On the main thread alone, and only where the program has a handler of its own for
// SIGINT (Python has): elsewhere nothing is watched and stopped() is false. One at a time.
class InterruptWatch {
 public:
  explicit InterruptWatch(bool wanted);
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  // Whether the loop is to end: a signal came, and its handler wants the call to fail.
  bool stopped() const { return watching_ && is_stopped(); }

 private:
  static bool is_stopped();

  bool watching_;
};

// Asked on the main thread after a signal: true if the call is to fail. Without one set, signals
// are left to their handlers and no loop ends early.
void set_interrupt_question(bool (*question)());

}  // namespace lpgd
