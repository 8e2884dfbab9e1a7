"""The idle benchmark: what idle connections and queues cost in memory, and what they do to a paced load.

The paced load is run in four phases: alone, beside the connections, beside connections and queues, and alone
again (a difference between the first and the last is the machine's or the broker's memory of the crowd).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.harness.brokers import Broker, BrokerError
from bench.harness.choice import DEFAULT_DATA, add_broker_options, make_broker, read_choice, require_disk
from bench.harness.client import ClientError
from bench.harness.crowd import Crowd, raise_file_limit
from bench.harness.generator import Generator, GeneratorMissing
from bench.harness.loads import BY_NAME, run_load
from bench.harness.process import cpu_s, end_on_sigterm, settled_rss_kb
from bench.harness.report import (
    facts,
    markdown_table,
    markdown_title,
    number,
    quotient,
    significant,
    text_table,
    times,
)

CONNECTIONS = 5000
QUEUES = 10_000
LATENCIES = ("confirm_us.p50", "confirm_us.p99", "deliver_us.p50", "deliver_us.p99")


@dataclass
class Phase:
    """What was seen in one phase: memory before and after its set-up, CPU while idle, then the paced load.

    Latencies are in ms, ``idle_cpu_percent`` is of one core. Memory and CPU are None when the broker's pid is
    unknown.
    """

    name: str
    setup_s: float
    rss_before_mib: float | None = None
    rss_mib: float | None = None
    idle_cpu_percent: float | None = None
    cpu_us: float | None = None
    latencies: dict[str, float | None] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Idle:
    """Runs the phases against one broker."""

    def __init__(self, generator: Generator, broker: Broker, options: argparse.Namespace) -> None:
        self.generator = generator
        self.broker = broker
        self.options = options
        self.phases: list[Phase] = []
        self.crowd = Crowd(broker.address, f"idle{os.getpid()}")

    def run(self) -> None:
        """Run all phases; the crowd is gone afterwards, also when one fails."""
        # A first run warms the broker, so that its one-time costs do not count as those of the crowd.
        run_load(self.generator, BY_NAME["paced"], self.broker.address, None, 1.0, f"idle{os.getpid()}.warm")
        try:
            self._phase("alone", lambda: None)
            self._phase("connections", lambda: self.crowd.connect(self.options.connections))
            self._phase("connections and queues", lambda: self.crowd.declare(self.options.queues))
        except BaseException:
            self.crowd.leave()
            raise
        self._phase("alone again", self.crowd.leave)

    def _phase(self, name: str, set_up: Callable[[], None]) -> None:
        pid = self.broker.pid
        before_mib = settled_rss_kb(pid) / 1024 if pid else None
        began = time.monotonic()
        set_up()
        phase = Phase(name, time.monotonic() - began, rss_before_mib=before_mib)
        self.phases.append(phase)
        print(f"{name} (set up in {phase.setup_s:.1f} s)", file=sys.stderr)
        if pid:
            phase.rss_mib = settled_rss_kb(pid) / 1024
            phase.idle_cpu_percent = idle_cpu_percent(pid, self.options.idle_time)
        load, figures = BY_NAME["paced"], []
        for index in range(self.options.repeat):
            prefix = f"idle{os.getpid()}.paced{index}"
            answer = run_load(self.generator, load, self.broker.address, pid, self.options.time, prefix)
            self.broker.check()
            if not answer.ok:
                phase.faults.append(answer.error)
                continue
            seen = {path: answer.number(path) for path in LATENCIES}
            figures.append({path: None if us is None else us / 1000 for path, us in seen.items()})
            figures[-1]["cpu_us"] = load.figures(answer)["cpu_us"]
        phase.latencies = {path: median_of([run[path] for run in figures]) for path in LATENCIES}
        phase.cpu_us = median_of([run["cpu_us"] for run in figures])


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median of the known values, None when there is none."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def idle_cpu_percent(pid: int, wait_s: float) -> float:
    """Return the CPU that a broker with nothing to do uses, in percent of one core."""
    before = cpu_s(pid)
    time.sleep(wait_s)
    return (cpu_s(pid) - before) / wait_s * 100


def costs(phases: Sequence[Phase], connections: int, queues: int) -> list[list[str]]:
    """Return rows of what one connection and one queue cost in memory, and how fast they were set up."""
    by_name = {phase.name: phase for phase in phases}
    return [
        cost("connection", by_name.get("connections"), connections),
        cost("queue", by_name.get("connections and queues"), queues),
    ]


def cost(what: str, phase: Phase | None, count: int) -> list[str]:
    """Return one row: what, how many, KiB each, set up each second."""
    kib = rate = None
    if phase:
        rate = quotient(count, phase.setup_s)
        if phase.rss_mib is not None and phase.rss_before_mib is not None:
            kib = (phase.rss_mib - phase.rss_before_mib) * 1024 / count
    return [what, f"{count:,}", significant(kib), number(rate)]


def phase_rows(phases: Sequence[Phase]) -> list[list[str]]:
    """Return a row a phase; confirm p50 and p99 also as multiples of the first phase's."""
    first = phases[0].latencies
    return [
        [
            phase.name,
            number(phase.rss_mib),
            significant(phase.idle_cpu_percent),
            significant(phase.cpu_us),
            *(significant(phase.latencies.get(path)) for path in LATENCIES),
            *(times(quotient(phase.latencies.get(path), first.get(path))) for path in LATENCIES[:2]),
            "; ".join(phase.faults) or "ok",
        ]
        for phase in phases
    ]


COST_HEAD = ["idle", "count", "KiB each", "set up /s"]
PHASE_HEAD = [
    *("paced load", "RSS MiB", "idle CPU %", "us CPU"),
    *(path.replace("_us.", " ") + " ms" for path in LATENCIES),
    *("p50/alone", "p99/alone", "ok"),
]


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with status 2 for what it does not know."""
    parser = argparse.ArgumentParser(
        prog="idle",
        description="Measure what idle connections and queues cost, and what they do to a paced load.",
        epilog="Exit status: 0 fine, 1 a paced run was not ok, 2 could not measure.",
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N", help="default 5000")
    parser.add_argument("--queues", type=int, default=QUEUES, metavar="N", help="durable, empty; default 10000")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="paced runs a phase (default 3)")
    parser.add_argument("--time", type=float, default=5.0, metavar="S", help="seconds a paced run (default 5)")
    parser.add_argument("--idle-time", type=float, default=3.0, metavar="S", help="idle CPU window (default 3)")
    parser.add_argument("--markdown", action="store_true", help="print a section for bench/RESULTS.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (default in --data)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="on a disk (default var/bench)")
    parser.add_argument("--keep-data", action="store_true", help="leave the broker's data and log")
    parser.add_argument("--amqpbench", metavar="PATH", help="load generator or its source (default AMQPBENCH)")
    add_broker_options(parser, "", "amqpd")
    options = parser.parse_args(arguments)
    if min(options.connections, options.queues, options.repeat) < 1 or min(options.time, options.idle_time) <= 0:
        parser.error("counts must be at least 1 and times above 0")
    return options


def measure(options: argparse.Namespace, phases: list[Phase], known: dict[str, str]) -> None:
    """Start the broker, run the phases, stop the broker; fills ``phases`` as it goes."""
    known |= facts(require_disk(options.data))
    generator = Generator(options.amqpbench)
    raise_file_limit()
    end_on_sigterm()
    choice = read_choice(options, "")
    broker = make_broker(choice, choice.name, options.data / f"idle-{os.getpid()}")
    with ExitStack() as stack:
        if not options.keep_data:
            stack.callback(broker.clean)
        broker.start()
        stack.callback(broker.stop)
        known["broker"] = broker.version()
        idle = Idle(generator, broker, options)
        idle.phases = phases
        idle.run()


def print_report(options: argparse.Namespace, phases: Sequence[Phase], known: dict[str, str]) -> None:
    """Print the tables, as text or as Markdown."""
    if options.markdown:
        print(markdown_title("Idle", known))
    else:
        print("\n".join(f"{key:<8} {value}" for key, value in known.items()) + "\n")
    table = markdown_table if options.markdown else text_table
    print(table(COST_HEAD, costs(phases, options.connections, options.queues)) + "\n")
    print(table(PHASE_HEAD, phase_rows(phases)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the idle benchmark; returns the exit status."""
    options = parse_options(arguments)
    phases, known, broken = list[Phase](), dict[str, str](), False
    try:
        measure(options, phases, known)
    except (BrokerError, GeneratorMissing, ClientError, OSError) as error:
        print(f"idle: {error}", file=sys.stderr)
        broken = True
    if not phases:
        return 2
    print_report(options, phases, known)
    path: Path = options.json or options.data / f"idle-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({**known, "phases": [asdict(phase) for phase in phases]}, indent=1) + "\n")
    print(f"all figures in {path}", file=sys.stderr)
    if broken:
        return 2
    return 1 if any(phase.faults for phase in phases) else 0
