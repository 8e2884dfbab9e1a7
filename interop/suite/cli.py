"""``interop/run``: choose families, run them, show what they saw."""

import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from interop.suite import every, pages, report
from interop.suite.family import Family
from interop.suite.pytests import REPOSITORY
from interop.suite.running import Place, run_all

PRINTED_WIDTH = 120  # of a table that does not go to a terminal
DEFAULT_CACHE = REPOSITORY / ".cache" / "interop"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1)
@click.option("--broker", metavar="URL", help="Test this broker; without it every family gets an amqpd of its own.")
@click.option("--against", metavar="URL", help="Run the same against this broker, too, and say where they differ.")
@click.option("--list", "listing", is_flag=True, help="Name the families and their groups, and run none.")
@click.option("--complete", is_flag=True, help="A family that cannot run on this machine counts as failed.")
@click.option("--jobs", default=2, show_default=True, help="Families that run at the same time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results, check by check.")
@click.option(
    "--pages", "writing", is_flag=True, help="Write the table into README.md, reasons into docs/compatibility.md."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Where clients are installed. [.cache/interop]")
def main(
    names: tuple[str, ...],
    broker: str | None,
    against: str | None,
    listing: bool,
    complete: bool,
    jobs: int,
    json_file: Path | None,
    writing: bool,
    cache: Path | None,
) -> None:
    """Run client libraries against a broker.

    NAMES are families, or groups of them (python, node, own-tests, ci ...); without a name all run. Exit status: 0 when
    nothing failed that is not listed with a reason, 1 otherwise, 2 for a name that does not exist.
    """
    if writing and (names or broker):
        raise click.UsageError("--pages shows what amqpd does with all families: not with NAMES or --broker")
    families = chosen(every.families(against), names)
    if listing:
        for family in families:
            click.echo(f"{family.name:28} {family.language:10} {' '.join(_groups(family))}")
        return
    signal.signal(signal.SIGTERM, _terminated)
    cache = (cache or DEFAULT_CACHE).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    # Some families use the other broker, too, and some restart it.
    results = _run(families, Place(cache, broker), jobs if against is None else 1)
    compared = [family for family in families if family.comparable]
    if against is not None and compared:
        results["against"] = _run(compared, Place(cache, against), 1)
        for line in report.differing(results["families"], results["against"]["families"]):
            click.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if writing:
        pages.write(REPOSITORY / "README.md", pages.table(results["families"]))
        pages.write(REPOSITORY / "docs" / "compatibility.md", pages.reasons(results["families"]))
    sys.exit(1 if report.has_failures(results, complete=complete) else 0)


def _run(families: Sequence[Family], place: Place, jobs: int) -> report.Json:
    about = every.about(place.url)
    name = " ".join(about.values())
    click.echo(f"{len(families)} families on {name}", err=True)
    rows = run_all(families, place, jobs, lambda row: click.echo(f"{name}: {report.line_of(row)}", err=True))
    report.print_table(rows, Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH), name)
    return report.as_json(rows, about)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    """Take along what was started: brokers, programs, test runners. (Ctrl-C goes to all of them by itself.)"""
    for process in _descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    sys.exit(128 + signal.SIGTERM)


def _descendants(process: int) -> list[int]:
    """Process ids, as /proc has them; none on a system without it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before the state may hold anything, brackets and blanks as well.
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = [process]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def chosen(families: Sequence[Family], names: Iterable[str]) -> list[Family]:
    """The families that are named, or belong to a group that is; all of them for no name."""
    wanted = set(names)
    known = {word for family in families for word in (family.name, *_groups(family))}
    if unknown := wanted - known:
        click.echo(f"no family or group {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}", err=True)
        sys.exit(2)
    return [family for family in families if not wanted or wanted & {family.name, *_groups(family)}]


def _groups(family: Family) -> list[str]:
    return [*family.tags, *(["ci"] if family.ci else [])]


if __name__ == "__main__":
    main()
