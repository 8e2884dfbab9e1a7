"""What the suite runs, and what comes of it: families of checks, whatever they are written in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from interop.broker import Broker

Result = Literal["passed", "failed", "skipped"]


class Unavailable(Exception):
    """What a family needs is not here (a tool chain, a package); the text says what. The family is skipped."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``explanation`` is the reason of a skip, or what was seen instead."""

    name: str
    result: Result
    explanation: str = ""


@dataclass(frozen=True)
class Known:
    """A failure that is meant to be: checks whose names fit the pattern (as ``fnmatch`` has it) may fail, and why."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Run:
    """What a family gets: the broker, and two directories.

    ``cache`` stays from run to run and is shared by all; ``scratch`` is empty and goes when the family is done.
    ``ours`` says that the broker is the amqpd of this repository, started for this family alone.
    """

    broker: Broker
    cache: Path
    scratch: Path
    ours: bool = True


@dataclass
class Outcome:
    """``version`` is that of the client which was tested; ``checks`` in the order they were made."""

    version: str
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class Family:
    """A row of the table.

    ``run`` raises ``Unavailable`` when the machine lacks what it needs. ``known`` are the failures that count as
    expected, with reasons; one that does not happen any more is reported, and fails the run. ``elsewhere`` are those
    that may fail on the broker which amqpd is compared with. A family that is ``comparable`` runs there as well.
    """

    name: str
    language: str
    run: Callable[[Run], Outcome]
    ci: bool = False
    known: tuple[Known, ...] = ()
    elsewhere: tuple[Known, ...] = ()
    comparable: bool = False
    tags: tuple[str, ...] = ()


def explained(
    checks: Iterable[Check], known: Iterable[Known], *, shrinking: bool = True
) -> tuple[list[Check], dict[str, str]]:
    """Take the known failures out: (the other checks, name -> reason of those that failed as expected).

    When the list is ``shrinking``, an entry of ``known`` that no failed check answers to becomes a failed check itself.
    """
    rest: list[Check] = []
    expected: dict[str, str] = {}
    patterns = list(dict.fromkeys(known))
    unused = list(patterns)
    for check in checks:
        match = next((one for one in patterns if fnmatchcase(check.name, one.pattern)), None)
        if check.result != "failed" or match is None:
            rest.append(check)
            continue
        expected[check.name] = match.reason
        if match in unused:
            unused.remove(match)
    if shrinking:
        rest += [Check(one.pattern, "failed", f"passed, but is listed to fail: {one.reason}") for one in unused]
    return rest, expected
