"""What the Python programs share: scenarios, checks, and their report in TAP.

A program is a list of functions, each decorated with its scenario's name, and ``run()`` at the end:

    from interop.families.python.checks import AMQP, check, run, scenario

    @scenario("get")
    def get() -> None:
        check("empty queue says so", channel.basic_get("interop.q"), None)

    if __name__ == "__main__":
        run()

The module needs nothing but the standard library: it runs in the environments of the families.
"""

import asyncio
import inspect
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

PATIENCE = 40.0  # seconds that anything which must come may take, on the slowest machine
SCENARIO_SECONDS = 180.0  # a scenario that takes longer hangs
AGAIN_SECONDS = 1.0  # an event loop may swallow the first exception that ends it


class Skip(Exception):
    """Leaves a scenario; the text says what the client, or this broker, lacks."""


@dataclass(frozen=True)
class Address:
    """Where the broker is, from the environment that ``interop/run`` makes."""

    url: str
    host: str
    port: int
    user: str
    password: str
    vhost: str


def _address() -> Address:
    take = os.environ.get
    return Address(
        take("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F"),
        take("AMQP_HOST", "127.0.0.1"),
        int(take("AMQP_PORT", "5672")),
        take("AMQP_USER", "guest"),
        take("AMQP_PASSWORD", "guest"),
        take("AMQP_VHOST", "/"),
    )


AMQP = _address()

Function = TypeVar("Function", bound=Callable[[], Any])
Raised = TypeVar("Raised", bound=Exception)

_scenarios: list[tuple[str, Callable[[], Any]]] = []
_current = ""
_count = 0


def scenario(name: str) -> Callable[[Function], Function]:
    """Make a function, or a coroutine function, the scenario of this name."""

    def decorate(function: Function) -> Function:
        _scenarios.append((name, function))
        return function

    return decorate


def cannot(name: str, reason: str) -> None:
    """Declare that the client has no way to do this scenario."""

    def skip() -> None:
        raise Skip(reason)

    _scenarios.append((name, skip))


def check(what: str, seen: object, expected: object = True) -> None:
    """Report one check of the scenario that runs: equal, and of the same type."""
    passed = seen == expected and type(seen) is type(expected)
    _say(passed, what, f"expected {expected!r}, got {seen!r}")


def lacks(what: str, reason: str) -> None:
    """Report a check of a scenario that the client has no way to make; the rest of the scenario goes on."""
    _line(f"ok {_next()} - {_current}: {what} # SKIP {reason}")


def check_typed(what: str, seen: object, expected: object) -> None:
    """Report one check: equal, and every value inside of the same type (``True`` is not 1, 1 is not 1.0)."""
    check(what, _typed(seen), _typed(expected))


def death(reason: str, queue: str, count: int = 1) -> dict[str, Any]:
    """A row of ``x-death`` as a client reads it, without its time: published to the default exchange."""
    return {"count": count, "reason": reason, "queue": queue, "exchange": "", "routing-keys": [queue]}


def check_deaths(what: str, headers: dict[str, Any], *rows: dict[str, Any]) -> None:
    """Report three checks: the rows of ``x-death``, that their times are about now, and ``x-first-death-...``.

    The last row is the first death.
    """
    seen = [dict(row) for row in headers["x-death"]]
    times = [row.pop("time") for row in seen]
    check_typed(f"{what}: x-death", seen, list(rows))
    now = datetime.now(UTC)
    # A client may read a timestamp without its zone; it is UTC all the same.
    ages = [now - (time if time.tzinfo else time.replace(tzinfo=UTC)) for time in times]
    check(f"{what}: x-death times", all(abs(age.total_seconds()) < PATIENCE for age in ages))
    first = {part: headers[f"x-first-death-{part}"] for part in ("reason", "queue", "exchange")}
    check(f"{what}: x-first-death", first, {part: rows[-1][part] for part in first})


class Heard(logging.Handler):
    """What a logger says: some clients tell some things to their log only."""

    def __init__(self, logger: str) -> None:
        super().__init__()
        self.messages: list[str] = []
        logging.getLogger(logger).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def raised(kind: type[Raised], act: Callable[[], object]) -> Raised:
    """Do what must raise, and return the exception."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def wait_for(what: str, condition: Callable[[], bool], step: Callable[[], object] = lambda: time.sleep(0.01)) -> None:
    """Take steps until the condition holds; a check that fails after ``PATIENCE`` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()) and time.monotonic() < deadline:
        step()
    _say(met, what, f"not within {PATIENCE} s")


async def arrival(what: str, condition: Callable[[], bool]) -> None:
    """``wait_for`` on an asyncio loop."""
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    _say(met, what, f"not within {PATIENCE} s")


def control(*words: str) -> None:
    """Act on the broker (``restart``, ``alarm on`` ...); raises ``Skip`` when this one cannot be made to."""
    command = os.environ.get("INTEROP_CONTROL")
    if command is None:
        raise Skip("no INTEROP_CONTROL: nobody can act on the broker")
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise Skip(done.stdout.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{command} {' '.join(words)}: {done.stdout}{done.stderr}")


def run(around: Callable[[Callable[[], Awaitable[None]]], None] | None = None) -> None:
    """Run the scenarios in their order and print the report; names on the command line choose some.

    ``around`` runs a coroutine function to its end; ``asyncio.run`` does when it is not given.
    """
    global _current
    signal.signal(signal.SIGALRM, _hangs)
    chosen = sys.argv[1:]
    for name, function in _scenarios:
        if chosen and name not in chosen:
            continue
        _current = name
        try:
            signal.setitimer(signal.ITIMER_REAL, SCENARIO_SECONDS, AGAIN_SECONDS)
            if not inspect.iscoroutinefunction(function):
                function()
            elif around is None:
                asyncio.run(function())
            else:
                around(function)
        except Skip as reason:
            _line(f"ok {_next()} - {name} # SKIP {reason}")
        except Exception as error:
            _say(False, "no exception", f"{type(error).__name__}: {error}")
            traceback.print_exc()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    _line(f"1..{_count}")


def _hangs(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"the scenario hangs: it took more than {SCENARIO_SECONDS:.0f} s")


def _typed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value).__name__, value


def _say(passed: bool, what: str, explanation: str) -> None:
    _line(f"{'ok' if passed else 'not ok'} {_next()} - {_current}: {what}")
    if not passed:
        for line in explanation.splitlines():
            _line(f"# {line[:500]}")


def _next() -> int:
    global _count
    _count += 1
    return _count


def _line(text: str) -> None:
    print(text, flush=True)
