package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

// patience is how long anything that must come may take.
const patience = 10 * time.Second

// cannot is the exit status of the control command when this broker cannot be made to do something.
const cannot = 3

// A skip leaves the scenario; its text says what is missing.
type skip string

// report prints checks as TAP on standard output.
type report struct{ count int }

// A scenario reports its checks, much as a testing.T; what it opened or declared, Cleanup takes away again.
type scenario struct {
	name     string
	report   *report
	cleanups []func()
}

// run runs one scenario; a panic in it is a failed check, and those of its clean-up, too.
func (r *report) run(name string, function func(*scenario)) {
	s := &scenario{name: name, report: r}
	s.guard(func() { function(s) })
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.guard(s.cleanups[i])
	}
}

func (r *report) end() { fmt.Printf("1..%d\n", r.count) }

func (s *scenario) guard(function func()) {
	defer func() {
		switch left := recover().(type) {
		case nil:
		case skip:
			s.report.count++
			fmt.Printf("ok %d - %s # SKIP %s\n", s.report.count, s.name, string(left))
		default:
			s.say(false, "no panic", fmt.Sprint(left))
			debug.PrintStack()
		}
	}()
	function()
}

func (s *scenario) say(passed bool, what, explanation string) {
	s.report.count++
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	fmt.Printf("%s %d - %s: %s\n", verdict, s.report.count, s.name, what)
	if !passed {
		fmt.Println("# " + strings.ReplaceAll(explanation, "\n", "\n# "))
	}
}

// Cleanup registers a function to be called when the scenario is over, last one first.
func (s *scenario) Cleanup(function func()) { s.cleanups = append(s.cleanups, function) }

// Check reports whether the values are deeply equal, types included.
func (s *scenario) Check(what string, seen, expected any) {
	explanation := fmt.Sprintf("expected %T %#v, got %T %#v", expected, expected, seen, seen)
	s.say(reflect.DeepEqual(seen, expected), what, explanation)
}

// Eventually reports whether the condition comes true in time.
func (s *scenario) Eventually(what string, condition func() bool) {
	deadline := time.Now().Add(patience)
	met := condition()
	for !met && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		met = condition()
	}
	s.say(met, what, fmt.Sprintf("not within %v", patience))
}

// control acts on the broker ("restart", "alarm on"), or skips the scenario if this one cannot be made to.
func control(words ...string) {
	command := os.Getenv("INTEROP_CONTROL")
	if command == "" {
		panic(skip("no INTEROP_CONTROL: nobody can act on the broker"))
	}
	output, err := exec.Command(command, words...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == cannot {
		panic(skip(strings.TrimSpace(string(output))))
	}
	if err != nil {
		panic(fmt.Errorf("%s %v: %w: %s", command, words, err, output))
	}
}

// must panics on an error, which ends the scenario.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// result is must for a function with a result.
func result[T any](value T, err error) T {
	must(err)
	return value
}

// result2 is result for a function with two results.
func result2[T, U any](one T, other U, err error) (T, U) {
	must(err)
	return one, other
}

// next receives from a channel what must come in time.
func next[T any](what string, channel <-chan T) T {
	select {
	case value, open := <-channel:
		if !open {
			panic(what + ": the channel was closed")
		}
		return value
	case <-time.After(patience):
		panic(fmt.Sprintf("%s: not within %v", what, patience))
	}
}
