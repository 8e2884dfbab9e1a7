#define _POSIX_C_SOURCE 200809L

#include "tap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define CANNOT 3 /* exit status of the control command when this broker cannot be made to do it */

static const char *current;
static int reported;
static jmp_buf leave_scenario;

static void report(const char *what, bool passed) {
  printf("%s %d - %s: %s\n", passed ? "ok" : "not ok", ++reported, current, what);
  fflush(stdout);
}

static void explain_with(const char *format, va_list arguments) {
  printf("# ");
  vprintf(format, arguments);
  printf("\n");
  fflush(stdout);
}

__attribute__((format(printf, 1, 2))) static void explain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  explain_with(format, arguments);
  va_end(arguments);
}

void check(const char *what, bool passed) { report(what, passed); }

void check_number(const char *what, long long seen, long long expected) {
  report(what, seen == expected);
  if (seen != expected) {
    explain("expected %lld, got %lld", expected, seen);
  }
}

void check_text(const char *what, const char *seen, const char *expected) {
  bool same = strcmp(seen, expected) == 0;
  report(what, same);
  if (!same) {
    explain("expected \"%s\", got \"%s\"", expected, seen);
  }
}

noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  report("no error", false);
  explain_with(format, arguments);
  va_end(arguments);
  longjmp(leave_scenario, 1);
}

noreturn void skip(const char *reason) {
  printf("ok %d - %s # SKIP %s\n", ++reported, current, reason);
  longjmp(leave_scenario, 1);
}

void control(const char *words) {
  const char *program = getenv("INTEROP_CONTROL");
  if (program == NULL) {
    skip("no INTEROP_CONTROL: nobody can act on the broker");
  }
  char command[4096];
  snprintf(command, sizeof command, "'%s' %s 2>&1", program, words);
  FILE *output = popen(command, "r");
  if (output == NULL) {
    fail("cannot run %s", command);
  }
  char said[1024];
  said[fread(said, 1, sizeof said - 1, output)] = '\0';
  said[strcspn(said, "\n")] = '\0';
  int status = pclose(output);
  if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
    skip(said);
  }
  if (status != 0) {
    fail("%s: %s", command, said);
  }
}

static bool chosen(const char *name, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], name) == 0) {
      return true;
    }
  }
  return argc < 2;
}

void run_scenarios(const struct scenario *scenarios, size_t count, int argc, char **argv, void (*clean_up)(void)) {
  for (const struct scenario *scenario = scenarios; scenario < scenarios + count; scenario++) {
    if (!chosen(scenario->name, argc, argv)) {
      continue;
    }
    current = scenario->name;
    if (setjmp(leave_scenario) == 0) {
      scenario->run();
    }
    if (setjmp(leave_scenario) == 0) {
      clean_up();
    }
  }
  printf("1..%d\n", reported);
}
