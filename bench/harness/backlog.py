"""The backlog benchmark: a long queue is published, the broker restarted, the queue drained and checked.

Memory is sampled all the while: it must stay below a limit that is far below the size of the queue.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.harness.brokers import Broker, BrokerError, RunningBroker, wait_declare
from bench.harness.choice import DEFAULT_DATA, add_broker_options, make_broker, read_choice, require_disk
from bench.harness.client import PASSIVE, ClientError, Connection
from bench.harness.drain import BODY_MIN, Drain
from bench.harness.generator import Generator, GeneratorMissing
from bench.harness.process import MemorySampler, end_on_sigterm
from bench.harness.report import deliver, facts, number, significant

COUNT = 2_000_000
SIZE_BYTES = 1024
RSS_LIMIT_MIB = 300.0
# A queue this slow to publish to is taken for hung: 500 messages a second.
PUBLISH_S_PER_MESSAGE = 0.002


@dataclass
class Outcome:
    """The figures of one backlog, None for a step not reached. ``faults`` says what is wrong."""

    count: int
    size_bytes: int
    publish_rate: float | None = None
    data_mib: float | None = None
    count_before_stop: int | None = None
    stop_s: float | None = None
    port_open_s: float | None = None
    first_declare_s: float | None = None
    count_after_start: int | None = None
    drain_rate: float | None = None
    count_after_drain: int | None = None
    rss_idle_mib: float | None = None
    rss_peak_mib: float | None = None
    rss_peaks_mib: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Backlog:
    """Runs the steps against one broker and writes their figures into ``outcome``."""

    def __init__(self, generator: Generator, broker: Broker, options: argparse.Namespace) -> None:
        self.generator = generator
        self.broker = broker
        self.options = options
        self.prefix = f"backlog{os.getpid()}"
        self.queue = f"{self.prefix}.q00000"  # as amqpbench names its first queue
        self.outcome = Outcome(options.count, options.size)

    def run(self, sampler: MemorySampler) -> None:
        """Publish, restart, drain; memory is counted by phase."""
        sampler.watch(self.broker.pid or 0)
        self._phase(sampler, "idle")
        self._phase(sampler, "publish")
        self._publish()
        if isinstance(self.broker, RunningBroker):
            print("a broker that was running already is not restarted", file=sys.stderr)
        else:
            self._restart(sampler)
        self._phase(sampler, "drain")
        self._drain()
        self._phase(sampler, "drained")

    def remove(self) -> None:
        """Delete the queue from a broker that keeps running."""
        with Connection(self.broker.address) as connection:
            connection.delete_many([self.queue])

    def _phase(self, sampler: MemorySampler, name: str) -> None:
        print(name, file=sys.stderr)
        sampler.phase(name)

    def _publish(self) -> None:
        options = self.options
        command = [
            "--producers",
            "1",
            "--consumers",
            "0",
            "--persistent",
            "--durable",
            "--keep",
            "--time",
            "0",
        ]
        command += ["--size", str(options.size), "--confirm", str(options.confirm), "--prefix", self.prefix]
        command += ["--pmessages", str(options.count)]
        answer = self.generator.run(
            self.broker.address, command, pid=None, longest_s=options.count * PUBLISH_S_PER_MESSAGE
        )
        self.broker.check()
        if not answer.ok:
            raise BrokerError(f"publishing failed: {answer.error}")
        self.outcome.publish_rate = answer.number("conf_e2e_rate")
        self.outcome.count_before_stop = self._count("published")
        size = self.broker.data_bytes()
        self.outcome.data_mib = None if size is None else size / 2**20

    def _restart(self, sampler: MemorySampler) -> None:
        self._phase(sampler, "stop")
        self.outcome.stop_s = self.broker.stop()
        sampler.watch(0)
        self.outcome.port_open_s = self.broker.start()
        sampler.watch(self.broker.pid or 0)
        self._phase(sampler, "start")
        # A fresh queue: its answer needs the whole broker, the write to disk included.
        fresh = f"{self.prefix}.after-start"
        self.outcome.first_declare_s = self.outcome.port_open_s + wait_declare(self.broker.address, fresh)
        with Connection(self.broker.address) as connection:
            connection.delete_many([fresh])
        self.outcome.count_after_start = self._count("started")

    def _count(self, when: str) -> int:
        """Ask the queue for its count and note a fault when it is not the full one."""
        with Connection(self.broker.address) as connection:
            count = connection.declare(self.queue, PASSIVE)
        if count != self.options.count:
            self.outcome.faults.append(f"{when}: the queue says {count:,} of {self.options.count:,}")
        return count

    def _drain(self) -> None:
        options = self.options
        drain = Drain(self.broker.address, self.queue, options.count, options.size)
        tally = drain.run(options.prefetch, options.multi_ack)
        self.outcome.drain_rate = tally.received / tally.seconds
        if not tally.exact:
            self.outcome.faults.append(f"drained {tally.received:,}: {tally.faults()}")
        with Connection(self.broker.address) as connection:
            self.outcome.count_after_drain = connection.declare(self.queue, PASSIVE)
        if self.outcome.count_after_drain:
            self.outcome.faults.append(f"{self.outcome.count_after_drain:,} left in the queue after the drain")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with status 2 for what it does not know."""
    parser = argparse.ArgumentParser(
        prog="backlog",
        description="Publish a long queue with confirms, restart the broker, drain and check the queue.",
        epilog="Exit status: 0 fine, 1 order, count or memory wrong, 2 could not measure.",
    )
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"messages (default {COUNT:,})")
    parser.add_argument("--size", type=int, default=SIZE_BYTES, metavar="BYTES", help="body (default 1024)")
    parser.add_argument("--confirm", type=int, default=1000, metavar="N", help="confirm window (default 1000)")
    parser.add_argument("--prefetch", type=int, default=500, metavar="N", help="drain: prefetch (default 500)")
    parser.add_argument("--multi-ack", type=int, default=50, metavar="N", help="drain: ack every (default 50)")
    parser.add_argument(
        "--rss-limit",
        type=float,
        default=RSS_LIMIT_MIB,
        metavar="MIB",
        help=f"the broker's memory must stay below (default {RSS_LIMIT_MIB:.0f}; 0 = no limit)",
    )
    parser.add_argument("--markdown", action="store_true", help="print a section for bench/RESULTS.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (default in --data)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="on a disk (default var/bench)")
    parser.add_argument("--keep-data", action="store_true", help="leave the broker's data and log")
    parser.add_argument("--amqpbench", metavar="PATH", help="load generator or its source (default AMQPBENCH)")
    add_broker_options(parser, "", "amqpd")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.size < BODY_MIN or options.multi_ack > options.prefetch:
        parser.error(f"--count from 1, --size from {BODY_MIN}, --multi-ack not above --prefetch")
    return options


def measure(options: argparse.Namespace, outcome: list[Outcome], known: dict[str, str]) -> None:
    """Start the broker, run the backlog, stop the broker; ``outcome`` gets one entry once it has begun."""
    known |= facts(require_disk(options.data))
    generator = Generator(options.amqpbench)
    end_on_sigterm()
    choice = read_choice(options, "")
    broker = make_broker(choice, choice.name, options.data / f"backlog-{os.getpid()}")
    backlog = Backlog(generator, broker, options)
    outcome.append(backlog.outcome)
    with ExitStack() as stack:
        if not options.keep_data:
            stack.callback(broker.clean)
        broker.start()
        stack.callback(broker.stop)
        known["broker"] = broker.version()
        if isinstance(broker, RunningBroker):
            stack.callback(backlog.remove)
        sampler = stack.enter_context(MemorySampler())
        stack.callback(keep_memory, backlog.outcome, sampler, options.rss_limit)
        backlog.run(sampler)


def keep_memory(outcome: Outcome, sampler: MemorySampler, limit_mib: float) -> None:
    """Note the memory seen; a peak at the limit is a fault, and so is an unchecked limit."""
    if not sampler.samples:
        if limit_mib:
            outcome.faults.append("memory not measured: the broker's pid is unknown")
        return
    outcome.rss_peaks_mib = {phase: peak_kb / 1024 for phase, peak_kb in sampler.peaks_kb.items()}
    outcome.rss_idle_mib = outcome.rss_peaks_mib.get("idle")
    outcome.rss_peak_mib = sampler.peak_kb / 1024
    if limit_mib and outcome.rss_peak_mib >= limit_mib:
        outcome.faults.append(f"memory reached {outcome.rss_peak_mib:,.0f} MiB; the limit is {limit_mib:,.0f}")


def rows(outcome: Outcome) -> list[list[str]]:
    """Return the figures as table rows."""
    peaks = ", ".join(f"{phase} {number(peak)}" for phase, peak in outcome.rss_peaks_mib.items())
    return [
        ["messages", f"{outcome.count:,} x {outcome.size_bytes:,} B"],
        ["publish, confirmed msg/s", number(outcome.publish_rate)],
        ["data on disk, MiB", number(outcome.data_mib)],
        ["stop, s", significant(outcome.stop_s)],
        ["start until port open, s", significant(outcome.port_open_s)],
        ["start until first declare answered, s", significant(outcome.first_declare_s)],
        ["drain, msg/s", number(outcome.drain_rate)],
        ["memory idle, MiB", number(outcome.rss_idle_mib)],
        ["memory peak, MiB", number(outcome.rss_peak_mib)],
        ["memory peak by phase, MiB", peaks or "-"],
        ["order and count", "; ".join(outcome.faults) or "exact"],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the backlog benchmark; returns the exit status."""
    options = parse_options(arguments)
    started, known, broken = list[Outcome](), dict[str, str](), ""
    try:
        measure(options, started, known)
    except (BrokerError, GeneratorMissing, ClientError, OSError) as error:
        broken = str(error)
        print(f"backlog: {broken}", file=sys.stderr)
    if not started:
        return 2
    outcome = started[0]
    if broken:
        outcome.faults.append(broken)
    deliver("backlog", "Backlog", options, known, rows(outcome), asdict(outcome))
    if broken:
        return 2
    return 1 if outcome.faults else 0
