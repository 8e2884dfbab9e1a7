"""Run families, each against a broker, and count what came of them."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from interop.broker import AmqpdProcess, Broker, running_elsewhere
from interop.suite.family import Check, Family, Known, Run, Unavailable, explained


@dataclass
class Row:
    """What became of a family on one broker.

    ``unavailable`` is why it did not run, or empty. ``expected`` are its known failures, check to reason; they are not
    among ``checks``. ``seconds`` include the installing.
    """

    family: Family
    version: str = ""
    unavailable: str = ""
    checks: list[Check] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, result: str) -> int:
        return sum(check.result == result for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.result == "failed"]

    @property
    def skips(self) -> list[Check]:
        return [check for check in self.checks if check.result == "skipped"]

    @property
    def passed_but(self) -> list[Check]:
        """What passed with something to say about it: a second try, for instance."""
        return [check for check in self.checks if check.result == "passed" and check.explanation]


@dataclass(frozen=True)
class Place:
    """Where families run: a broker at ``url``, or, when it is None, an amqpd of each family's own."""

    cache: Path
    url: str | None = None
    name: str = "amqpd"


def run_all(families: Iterable[Family], place: Place, jobs: int, told: Callable[[Row], None]) -> list[Row]:
    """Run the families, ``jobs`` at a time, in the order given; ``told`` hears of each when it is done.

    A broker that was running before is shared, and some families restart it: there they run one after the other.
    """
    if place.url is not None:
        jobs = 1

    def run_told(family: Family) -> Row:
        row = run_one(family, place)
        told(row)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        # The long ones stand last in the table; they are begun first, so that nothing waits for one at the end.
        return list(pool.map(run_told, list(families)[::-1]))[::-1]


def run_one(family: Family, place: Place) -> Row:
    """Run one family; whatever goes wrong is in the row."""
    started = time.monotonic()
    row = Row(family)
    known: tuple[Known, ...] = family.known + (family.elsewhere if place.url is not None else ())
    with tempfile.TemporaryDirectory(prefix="interop-") as scratch:
        try:
            with _broker(place, Path(scratch)) as broker:
                (directory := Path(scratch) / "f").mkdir()
                outcome = family.run(Run(broker, place.cache, directory, ours=place.url is None))
                row.version = outcome.version
                # Another broker may well do what is listed as a failure of amqpd's.
                row.checks, row.expected = explained(outcome.checks, known, shrinking=place.url is None)
        except Unavailable as reason:
            row.unavailable = str(reason)
        except Exception as error:
            # Also a broker that did not stop in order: it belongs to the family that made it so.
            row.checks.append(Check("family: runs to its end", "failed", f"{type(error).__name__}: {error}"))
    if not row.unavailable and not any(check.result != "skipped" for check in row.checks):
        row.checks.append(Check("family: checks something", "failed", "not one check was made"))
    row.seconds = time.monotonic() - started
    return row


@contextmanager
def _broker(place: Place, scratch: Path) -> Iterator[Broker]:
    if place.url is not None:
        with running_elsewhere(place.url) as broker:
            yield broker
        return
    (directory := scratch / "amqpd").mkdir()
    process = AmqpdProcess(directory)
    process.start()
    try:
        yield process.broker()
    except BaseException:
        process.kill()
        raise
    process.stop()
