/* Scenarios, checks, and their report in TAP on standard output.
 *
 * A scenario is a function. Its checks are reported as they are made; fail() and skip() leave it, and the next runs.
 */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>

#define PATIENCE_SECONDS 10 /* anything that must come may take this long */

struct scenario {
  const char *name;
  void (*run)(void);
};

/* Runs the scenarios, or those that the command line names; clean_up() runs after each of them. */
void run_scenarios(const struct scenario *scenarios, size_t count, int argc, char **argv, void (*clean_up)(void));

void check(const char *what, bool passed);
void check_number(const char *what, long long seen, long long expected);
void check_text(const char *what, const char *seen, const char *expected);

noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
noreturn void skip(const char *reason);

/* Acts on the broker ("restart", "alarm on"); skips the scenario if this broker cannot be made to do it. */
void control(const char *words);

#endif
