"""The delayed-message benchmark: memory and speed with many pending, lateness under load, a burst, restarts."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.harness.brokers import Amqpd, BrokerError, wait_declare
from bench.harness.choice import DEFAULT_DATA, default_python, require_disk
from bench.harness.client import PASSIVE, ClientError, Connection
from bench.harness.delayed_load import PLAIN, QUEUE, Beside, Consumer, Publisher, delayed, percentile, prepare
from bench.harness.process import end_on_sigterm, memory
from bench.harness.report import deliver, facts, number, significant

PENDING = 1_000_000
FAR_MS = (3_600_000, 360_000_000)  # one to a hundred hours
NEAR_MS = (100, 5_000)
# The pending messages at which memory is read, as parts of all.
STEPS = (0.001, 0.01, 0.1, 1.0)
# Messages that are made at once before they are published, so that the making is not measured.
BLOCK = 100_000
COUNTS = 20  # the middle one is shown


@dataclass
class Outcome:
    """The figures, None for a step not reached; a dict is by pending messages. ``faults`` says what is wrong."""

    pending: int
    peak_rss_mib: dict[int, float] = field(default_factory=dict)
    publish_rate: dict[int, float] = field(default_factory=dict)
    count_ms: dict[int, float] = field(default_factory=dict)
    data_mib: float | None = None
    paced: int = 0
    late_p50_ms: float | None = None
    late_p99_ms: float | None = None
    late_max_ms: float | None = None
    plain_p50_ms: float | None = None
    plain_p99_ms: float | None = None
    burst: int = 0
    burst_rate: float | None = None
    burst_plain_p50_ms: float | None = None
    burst_plain_p99_ms: float | None = None
    peak_rss_after_mib: float | None = None
    start_after_kill_s: float | None = None
    declare_after_kill_s: float | None = None
    start_s: float | None = None
    declare_s: float | None = None
    faults: list[str] = field(default_factory=list)


class Delayed:
    """Runs the steps against one amqpd and writes their figures into ``outcome``."""

    def __init__(self, broker: Amqpd, options: argparse.Namespace) -> None:
        self.broker = broker
        self.options = options
        self.outcome = Outcome(options.pending)
        self.random = random.Random(1)

    def run(self) -> None:
        prepare(self.broker.address)
        self._fill()
        self._pace()
        self._burst()
        self.outcome.peak_rss_after_mib = self._peak_rss_mib()
        self._restart()

    def _say(self, what: str) -> None:
        print(what, file=sys.stderr)

    def _peak_rss_mib(self) -> float:
        """Since the broker's start."""
        assert self.broker.pid
        return memory(self.broker.pid).high_water_kb / 1024

    def _fill(self) -> None:
        """Publish messages for a far future; memory, speed and the time of a count at each step."""
        outcome = self.outcome
        publisher = Publisher(self.broker.address)
        before = 0
        for step in STEPS:
            pending = max(1, round(outcome.pending * step))
            self._say(f"{pending:,} pending")
            seconds = 0.0
            for first in range(before, pending, BLOCK):
                made = [self._far() for _ in range(first, min(first + BLOCK, pending))]
                seconds += publisher.run(len(made), iter(made).__next__)
            outcome.publish_rate[pending] = (pending - before) / seconds
            before = pending
            outcome.peak_rss_mib[pending] = self._peak_rss_mib()
            outcome.count_ms[pending] = statistics.median(self._count_ms(pending) for _ in range(COUNTS))
        publisher.close()
        size = self.broker.data_bytes()
        outcome.data_mib = None if size is None else size / 2**20

    def _far(self) -> bytes:
        return delayed(self.random.randint(*FAR_MS), time.time() * 1000)

    def _near(self) -> bytes:
        return delayed(self.random.randint(*NEAR_MS), time.time() * 1000)

    def _count_ms(self, expected: int) -> float:
        """Milliseconds until the broker said how many are pending."""
        began = time.monotonic()
        waiting = waiting_messages(self.broker.directory / "data" / "control.sock")
        took_ms = (time.monotonic() - began) * 1000
        if waiting != expected:
            self.outcome.faults.append(f"{waiting:,} are pending instead of {expected:,}")
        return took_ms

    def _pace(self) -> None:
        """Delays of 0.1 to 5 s at a steady rate, with everything pending, beside plain publishes."""
        options, outcome = self.options, self.outcome
        self._say("lateness under load")
        outcome.paced = round(options.rate * options.time)
        consumer = Consumer(self.broker.address, outcome.paced)
        near, beside = Publisher(self.broker.address), Beside(self.broker.address, options.plain_rate)
        near.run(outcome.paced, self._near, options.rate)
        near.close()
        plainly = beside.stop()
        arrivals = consumer.wait()
        outcome.late_p50_ms = percentile(arrivals.late_ms, 0.5)
        outcome.late_p99_ms = percentile(arrivals.late_ms, 0.99)
        outcome.late_max_ms = max(arrivals.late_ms)
        outcome.plain_p50_ms = percentile(plainly, 0.5)
        outcome.plain_p99_ms = percentile(plainly, 0.99)
        self._judge("paced", outcome.paced, len(arrivals.late_ms), arrivals.early)

    def _burst(self) -> None:
        """Many due at the same moment; a plain publisher goes on meanwhile."""
        options, outcome = self.options, self.outcome
        self._say("burst")
        outcome.burst = options.burst
        publisher = Publisher(self.broker.address)
        lead_ms = 2_000 + options.burst // 10  # time enough to publish all of them
        moment = time.time() * 1000 + lead_ms
        publisher.run(outcome.burst, lambda: self._at(moment))
        publisher.close()
        consumer = Consumer(self.broker.address, outcome.burst)
        time.sleep(max(0.0, moment / 1000 - time.time() - 0.2))
        beside = Beside(self.broker.address, options.plain_rate)
        arrivals = consumer.wait()
        plainly = beside.stop()
        outcome.burst_rate = len(arrivals.late_ms) / max(arrivals.seconds, 0.001)
        outcome.burst_plain_p50_ms = percentile(plainly, 0.5)
        outcome.burst_plain_p99_ms = percentile(plainly, 0.99)
        self._judge("burst", outcome.burst, len(arrivals.late_ms), arrivals.early)

    def _at(self, moment_ms: float) -> bytes:
        now = time.time() * 1000
        return delayed(max(1, round(moment_ms - now)), now)

    def _judge(self, what: str, expected: int, came: int, early: int) -> None:
        if came != expected:
            self.outcome.faults.append(f"{what}: {came:,} of {expected:,} came")
        if early:
            self.outcome.faults.append(f"{what}: {early:,} came early")
        with Connection(self.broker.address) as connection:
            left = connection.declare(QUEUE, PASSIVE)
            connection.delete_many([PLAIN])
            connection.declare(PLAIN)
        if left:
            self.outcome.faults.append(f"{what}: {left:,} more are in the queue")

    def _restart(self) -> None:
        """After a kill, and in order: until the port is open, and until something new is on disk."""
        self._say("restarts")
        process, outcome = self.broker.process, self.outcome
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        outcome.start_after_kill_s, outcome.declare_after_kill_s = self._start("killed")
        self.broker.stop()
        outcome.start_s, outcome.declare_s = self._start("stopped")

    def _start(self, after: str) -> tuple[float, float]:
        start_s = self.broker.start()
        declare_s = start_s + wait_declare(self.broker.address, f"bench.{after}")
        self._count_ms(self.outcome.pending)
        return start_s, declare_s


def waiting_messages(control: Path) -> int:
    """Ask a broker's control socket how many delayed messages are pending, as `amqpd delayed stats` does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30.0)
        client.connect(str(control))
        client.sendall(b'{"command": "delayed stats", "arguments": {}}\n')
        with client.makefile("rb") as lines:
            answer = json.loads(lines.readline())
    if "error" in answer:
        raise BrokerError(f"delayed stats: {answer['error']}")
    return sum(int(row["waiting"]) for row in answer["result"])


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with status 2 for what it does not know."""
    parser = argparse.ArgumentParser(
        prog="delayed",
        description="Publish delayed messages: memory and speed with many pending, lateness under load, a burst.",
        epilog="Exit status: 0 fine, 1 messages early, lost or too many, 2 could not measure.",
    )
    parser.add_argument("--pending", type=int, default=PENDING, metavar="N", help=f"far ones (default {PENDING:,})")
    parser.add_argument("--rate", type=float, default=2000, metavar="N", help="near ones a second (default 2000)")
    parser.add_argument("--plain-rate", type=float, default=500, metavar="N", help="plain publishes a second beside")
    parser.add_argument("--time", type=float, default=20, metavar="S", help="of the paced load (default 20)")
    parser.add_argument("--burst", type=int, default=200_000, metavar="N", help="due at once (default 200,000)")
    parser.add_argument("--markdown", action="store_true", help="print a section for bench/RESULTS.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (default in --data)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="on a disk (default var/bench)")
    parser.add_argument("--python", metavar="PATH", help="interpreter that has amqpd and the plugin (default .venv's)")
    options = parser.parse_args(arguments)
    if options.pending < 1000 or options.burst < 1:
        parser.error("--pending from 1000, --burst from 1")
    return options


def measure(options: argparse.Namespace, started: list[Outcome], known: dict[str, str]) -> None:
    """Start the broker, run all steps, stop it; ``started`` gets one entry once it has begun."""
    known |= facts(require_disk(options.data))
    end_on_sigterm()
    python = os.path.abspath(options.python) if options.python else default_python()
    broker = Amqpd("amqpd", (options.data / f"delayed-{os.getpid()}").resolve(), python, None, [])
    run = Delayed(broker, options)
    started.append(run.outcome)
    with ExitStack() as stack:
        stack.callback(broker.clean)
        broker.start()
        stack.callback(broker.stop)
        known["broker"] = broker.version()
        run.run()


def rows(outcome: Outcome) -> list[list[str]]:
    """Return the figures as table rows."""

    def by_pending(values: dict[int, float], shown: str) -> list[list[str]]:
        return [[f"{shown}, {pending:,} pending", significant(value)] for pending, value in values.items()]

    return [
        *by_pending(outcome.peak_rss_mib, "memory peak, MiB"),
        *by_pending(outcome.publish_rate, "publish, confirmed msg/s, up to"),
        *by_pending(outcome.count_ms, "counting them, ms"),
        ["data on disk, MiB", number(outcome.data_mib)],
        [f"late, {outcome.paced:,} messages: p50, ms", significant(outcome.late_p50_ms)],
        ["late: p99, ms", significant(outcome.late_p99_ms)],
        ["late: the latest, ms", significant(outcome.late_max_ms)],
        ["plain confirm beside: p50, ms", significant(outcome.plain_p50_ms)],
        ["plain confirm beside: p99, ms", significant(outcome.plain_p99_ms)],
        [f"{outcome.burst:,} due at once: msg/s", number(outcome.burst_rate)],
        ["plain confirm meanwhile: p50, ms", significant(outcome.burst_plain_p50_ms)],
        ["plain confirm meanwhile: p99, ms", significant(outcome.burst_plain_p99_ms)],
        ["memory peak after all that, MiB", significant(outcome.peak_rss_after_mib)],
        ["start after kill -9 until port open, s", significant(outcome.start_after_kill_s)],
        ["start after kill -9 until first declare answered, s", significant(outcome.declare_after_kill_s)],
        ["start after a stop until port open, s", significant(outcome.start_s)],
        ["start after a stop until first declare answered, s", significant(outcome.declare_s)],
        ["none early, none lost", "; ".join(outcome.faults) or "exact"],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse_options(arguments)
    started, known, broken = list[Outcome](), dict[str, str](), ""
    try:
        measure(options, started, known)
    except (BrokerError, ClientError, OSError) as error:
        broken = str(error)
        print(f"delayed: {broken}", file=sys.stderr)
    if not started:
        return 2
    outcome = started[0]
    if broken:
        outcome.faults.append(broken)
    deliver("delayed", "Delayed messages", options, known, rows(outcome), asdict(outcome))
    if broken:
        return 2
    return 1 if outcome.faults else 0
