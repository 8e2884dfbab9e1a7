"""The comparison of two brokers: interleaved rounds of named loads, medians, ratios, targets."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.harness.brokers import Broker, BrokerError
from bench.harness.choice import DEFAULT_DATA, add_broker_options, make_broker, read_choice, require_disk
from bench.harness.client import ClientError
from bench.harness.crowd import Crowd, raise_file_limit
from bench.harness.generator import Generator, GeneratorMissing
from bench.harness.loads import BY_NAME, LOADS, Load, run_load
from bench.harness.process import end_on_sigterm
from bench.harness.report import facts, markdown_table, significant, text_table
from bench.harness.results import SIDES, Results, Run, crowd_table, latency_table, rate_table, title
from bench.harness.targets import CROWD_LOADS, judge

CROWD_QUEUES = 1000
CROWD_CONNECTIONS = 200
EXIT_STATUS = "Exit status: 0 fine, 1 a run was not ok or a target was missed, 2 could not measure."


class Comparison:
    """Two started brokers and the runs made with them. Progress goes to standard error, one line a run."""

    def __init__(self, generator: Generator, brokers: dict[str, Broker], time_s: float, results: Results) -> None:
        self.generator = generator
        self.brokers = brokers
        self.time_s = time_s
        self.results = results

    def round(self, index: int, loads: Sequence[Load], crowd_loads: Sequence[Load]) -> None:
        """Run every load on A and B in turn; then, if asked, the crowd loads with the crowd on both sides."""
        for load in loads:
            self.pair(index, load, crowd=False)
        if not crowd_loads:
            return
        with ExitStack() as stack:
            for side, broker in self.brokers.items():
                crowd = Crowd(broker.address, f"bench{os.getpid()}{side}")
                stack.callback(crowd.leave)
                crowd.declare(CROWD_QUEUES)
                crowd.connect(CROWD_CONNECTIONS)
            for load in crowd_loads:
                self.pair(index, load, crowd=True)

    def pair(self, index: int, load: Load, crowd: bool) -> None:
        """Run one load on A, then on B."""
        for side, broker in self.brokers.items():
            prefix = f"bench{os.getpid()}{side}.{load.name}"
            answer = run_load(self.generator, load, broker.address, broker.pid, self.time_s, prefix)
            run = Run(side, load.name, crowd, index, answer.ok, answer.error, load.figures(answer), answer.summary)
            self.results.runs.append(run)
            outcome = "ok" if run.ok else f"NOT OK: {run.error}"
            rate = f"{significant(run.figures['rate'])} {load.unit}"
            print(
                f"round {index} {title(load.name, crowd):<20} {broker.name:<12} {rate:>22}  {outcome}",
                file=sys.stderr,
            )
            broker.check()


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with status 2 for what it does not know."""
    names = "\n".join(f"  {load.name:<13} {load.doc}" for load in LOADS)
    parser = argparse.ArgumentParser(
        prog="versus_rabbitmq",
        description="Measure amqpd (A) beside RabbitMQ (B), interleaved, with the same load generator.",
        epilog=f"loads:\n{names}\n\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of A B (default 3)")
    parser.add_argument("--time", type=float, default=5.0, metavar="S", help="seconds a run (default 5)")
    parser.add_argument("--only", metavar="NAME,...", help="only these loads")
    parser.add_argument(
        "--crowd",
        action="store_true",
        help=f"also {', '.join(CROWD_LOADS)}, {CROWD_QUEUES:,} queues, {CROWD_CONNECTIONS} connections idle",
    )
    parser.add_argument("--targets", action="store_true", help="judge the targets too; implies --crowd")
    parser.add_argument("--markdown", action="store_true", help="print a section for bench/RESULTS.md instead of text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every figure goes (default in --data)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="on a disk (default var/bench)")
    parser.add_argument("--keep-data", action="store_true", help="leave the brokers' data and logs")
    parser.add_argument("--amqpbench", metavar="PATH", help="load generator or its source (default AMQPBENCH)")
    add_broker_options(parser, "a", "amqpd")
    add_broker_options(parser, "b", "rabbitmq")
    options = parser.parse_args(arguments)
    options.loads = read_loads(parser, options.only)
    if options.rounds < 1 or options.time <= 0:
        parser.error("--rounds and --time must be above 0")
    return options


def read_loads(parser: argparse.ArgumentParser, only: str | None) -> list[Load]:
    """Return the loads named in ``only``, all of them without it."""
    if only is None:
        return list(LOADS)
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not names:
        parser.error(f"--only: unknown load {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names]


def make_sides(options: argparse.Namespace) -> dict[str, Broker]:
    """Make both brokers; two of one kind are told apart by their side."""
    choices = {side: read_choice(options, side) for side in SIDES}
    same = choices["a"].name == choices["b"].name
    return {
        side: make_broker(
            choice, f"{choice.name}-{side}" if same else choice.name, options.data / f"{side}-{os.getpid()}"
        )
        for side, choice in choices.items()
    }


def measure(options: argparse.Namespace, results: Results, known: dict[str, str]) -> None:
    """Start both brokers, run all rounds, stop both; fills ``results`` and the facts as it goes."""
    known |= facts(require_disk(options.data))
    generator = Generator(options.amqpbench)
    raise_file_limit()
    end_on_sigterm()
    crowd = options.crowd or options.targets
    crowd_loads = [load for load in options.loads if crowd and load.name in CROWD_LOADS]
    brokers = make_sides(options)
    with ExitStack() as stack:
        for side, broker in brokers.items():
            if not options.keep_data:
                stack.callback(broker.clean)
            broker.start()
            stack.callback(broker.stop)
            results.names[side] = broker.name
            known[f"broker {side.upper()}"] = broker.version()
        comparison = Comparison(generator, brokers, options.time, results)
        for index in range(1, options.rounds + 1):
            comparison.round(index, options.loads, crowd_loads)


def print_report(options: argparse.Namespace, results: Results, known: dict[str, str]) -> None:
    """Print the tables, as text or as Markdown."""
    table = markdown_table if options.markdown else text_table
    runs = f"medians of {options.rounds} interleaved rounds, {options.time:g} s a run"
    if options.markdown:
        print(
            f"## {known['date']}, {known['commit']}\n\n{known['machine']}. {known['broker A']} (A) beside",
            end=" ",
        )
        print(f"{known['broker B']} (B), {runs}.\n")
    else:
        print("\n".join(f"{key:<9} {value}" for key, value in known.items()) + f"\n{runs}\n")
    for head, rows in (rate_table(results), latency_table(results), crowd_table(results, CROWD_LOADS)):
        if rows:
            print(table(head, rows) + "\n")
    for run in results.runs:
        if not run.ok:
            where = f"{title(run.load, run.crowd)}, {results.names[run.side]}, round {run.round}"
            print(f"NOT OK: {where}: {run.error}")


def write_json(options: argparse.Namespace, results: Results, known: dict[str, str]) -> Path:
    """Write everything that was measured; returns the file."""
    path: Path = options.json or options.data / f"versus-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    settings = {"rounds": options.rounds, "time_s": options.time}
    path.write_text(json.dumps({**known, **settings, **results.as_json()}, indent=1) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit status."""
    options = parse_options(arguments)
    results, known, broken = Results({}), dict[str, str](), False
    try:
        measure(options, results, known)
    except (BrokerError, GeneratorMissing, ClientError, OSError) as error:
        print(f"versus_rabbitmq: {error}", file=sys.stderr)
        broken = True
    if not results.runs:
        return 2
    print_report(options, results, known)
    passed = not options.targets or print_verdicts(options, results)
    print(f"all figures in {write_json(options, results, known)}", file=sys.stderr)
    if broken:
        return 2
    return 0 if results.all_ok() and passed else 1


def print_verdicts(options: argparse.Namespace, results: Results) -> bool:
    """Print every target's verdict; returns whether none was missed."""
    verdicts = judge(results)
    for verdict in verdicts:
        print(f"- {verdict.line()}" if options.markdown else verdict.line())
    return all(verdict.passed is not False for verdict in verdicts)
