"""A client's own pytest suite as a family: fetch it, run it in an environment of its own, read the results."""

import json
import os
import re
import shlex
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interop.broker import Broker
from interop.own_tests.sources import DebianSource, Sdist, unpacked
from interop.suite import install, junit
from interop.suite.family import Check, Family, Known, Outcome, Run

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
TEST_SECONDS = 120
SUITE_SECONDS = 1800.0
TOLD_CHARACTERS = 3000
# Own tests measure time by the clock, for machines that do nothing else: what fails may try once more, alone.
AGAIN_MOST = 20  # failures; with more of them something else is wrong
SECOND_TRY = "passed when it was run again; at first"
NO_TLS = "no port of this broker is known that takes TLS"


@dataclass(frozen=True)
class Place:
    """Where the broker takes connections. Own tests know neither virtual hosts nor users: ``/`` and guest it is."""

    host: str
    port: int
    tls_port: int
    authority: Path | None

    @classmethod
    def of(cls, broker: Broker) -> "Place":
        parts = urllib.parse.urlsplit(broker.url)
        tls_port, authority = (broker.tls.port, broker.tls.authority) if broker.tls else (0, None)
        return cls(parts.hostname or "127.0.0.1", parts.port or 5672, tls_port, authority)


def unchanged(_tree: Path, _place: Place) -> None:
    """The tests run as they are."""


@dataclass(frozen=True)
class Suite:
    """``tests`` are paths in the source, ``pip`` what their environment has, ``options`` more words for pytest.

    ``environment`` are variables that tell the tests where the broker is; ``prepare(tree, place)`` changes the unpacked
    source where variables do not do. ``left_out`` maps patterns of tests to why they are not run, ``tls`` are patterns
    of those that need TLS. The failures that are meant to be stand in ``<client>.expected``.
    """

    client: str
    source: Sdist | DebianSource
    tests: tuple[str, ...]
    pip: tuple[str, ...]
    options: tuple[str, ...] = ()
    environment: Callable[[Place], Mapping[str, str]] = lambda _place: {}
    prepare: Callable[[Path, Place], None] = unchanged
    left_out: Mapping[str, str] = field(default_factory=dict)
    tls: tuple[str, ...] = ()

    def family(self) -> Family:
        return own_tests(self.client, "Python", self.observe)

    def observe(self, run: Run) -> Outcome:
        python = install.virtual_environment(self.pip, run.cache)
        return self.tested(python, self.source.archive(run.cache), run)

    def tested(self, python: Path, archive: Path, run: Run) -> Outcome:
        """Run the tests of a source archive with this Python."""
        tree = unpacked(archive, run.scratch / "source")
        place = Place.of(run.broker)
        self.prepare(tree, place)
        environment = self._environment(run.broker, place)
        command = [str(python), *self._words(run.scratch)]
        checks = _results(command, tree, environment, run.scratch / "first.xml")
        failures = sum(check.result == "failed" for check in checks)
        if 0 < failures <= AGAIN_MOST:
            again = _results([*command, "--last-failed"], tree, environment, run.scratch / "again.xml")
            checks = list(second_tries(checks, again))
        return Outcome(version_of(archive), checks)

    def _words(self, scratch: Path) -> list[str]:
        words = ["-m", "pytest", "-q", "-o", f"cache_dir={scratch}/cache", "-p", "leaving_out", "--tb=short"]
        words += [f"--timeout={TEST_SECONDS}", "--continue-on-collection-errors", "--show-capture=no"]
        return [*words, "-o", "junit_family=xunit2", *self.options, *self.tests]

    def _environment(self, broker: Broker, place: Place) -> dict[str, str]:
        # Nothing of the suite's own Python may reach another's: the tests import the client that they lie beside.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        left_out = dict(self.left_out)
        if not broker.tls:
            left_out |= dict.fromkeys(self.tls, NO_TLS)
        return {
            **environment,
            "PYTHONPATH": str(INSIDE),
            "LEFT_OUT": json.dumps(left_out),
            "AMQP_PORT": str(place.port),
            "AMQPS_PORT": str(place.tls_port),
            "BROKER_COMMAND": shlex.join(broker.command),
            **self.environment(place),
        }


def own_tests(client: str, language: str, observe: Callable[[Run], Outcome]) -> Family:
    """The family of a client's own tests; what may fail stands in ``<client>.expected``."""
    return Family(
        f"{client}-own-tests",
        language,
        observe,
        known=tuple(expected(HERE / f"{client}.expected")),
        elsewhere=tuple(expected(HERE / f"{client}.rabbitmq.expected")),
        comparable=True,
        tags=("own-tests",),
    )


def ran(command: Sequence[str], tree: Path, environment: Mapping[str, str], seconds: float) -> tuple[str, int | None]:
    """What a test runner says, and its exit status; None when it took longer than ``seconds``."""
    status: int | None = None
    # Into a file: what the tests leave behind may hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            output.write(f"\nnot done in {seconds:.0f} s".encode())
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return output.read().decode(errors="replace"), status


def _results(command: Sequence[str], tree: Path, environment: Mapping[str, str], results: Path) -> list[Check]:
    """What one run of pytest says."""
    said, status = ran([*command, f"--junitxml={results}"], tree, environment, SUITE_SECONDS)
    checks = junit.read(results)
    if status not in (0, 1):  # 1: some failed, as the results say
        checks.append(
            Check("report: pytest ends in order", "failed", f"exit status {status}\n{said[-TOLD_CHARACTERS:]}")
        )
    return checks


def second_tries(checks: Iterable[Check], again: Iterable[Check]) -> Iterator[Check]:
    """The checks, with those that failed and then passed as passed; their explanation tells of the failure."""
    passed = {check.name for check in again if check.result == "passed"}
    for check in checks:
        if check.result == "failed" and check.name in passed:
            yield Check(check.name, "passed", f"{SECOND_TRY}: {check.explanation}")
        else:
            yield check


def expected(path: Path) -> Iterator[Known]:
    """The lines ``pattern | reason`` of a list, if there is one; only ``*`` and ``?`` are special in a pattern."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, _bar, reason = (part.strip() for part in line.partition(" | "))
        if not pattern or not reason:
            raise ValueError(f"{path.name}, line {number}: a line is `pattern | reason`")
        yield Known(pattern.replace("[", "[[]"), reason)


def version_of(archive: Path) -> str:
    """``1.4.4`` of ``python-pika_1.4.4.orig.tar.xz``."""
    match = re.search(r"[-_](\d.*?)(\.orig)?\.tar\.", archive.name)
    return match[1] if match else archive.name
