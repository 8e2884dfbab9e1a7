"""How figures are printed: text tables, Markdown tables, and the facts that make a figure mean something."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.harness.generator import ROOT


def deliver(
    name: str,
    title: str,
    options: argparse.Namespace,
    known: dict[str, str],
    rows: Sequence[Sequence[str]],
    figures: Mapping[str, object],
) -> None:
    """Print facts and figures as ``options.markdown`` says, and write all of them as JSON."""
    if options.markdown:
        print(markdown_title(title, known))
    else:
        print("\n".join(f"{key:<8} {value}" for key, value in known.items()) + "\n")
    table = markdown_table if options.markdown else text_table
    print(table(["figure", "value"], rows))
    path: Path = options.json or options.data / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({**known, **figures}, indent=1) + "\n")
    print(f"all figures in {path}", file=sys.stderr)


def number(value: float | None, digits: int = 0) -> str:
    """Return a figure with thousands separators; a dash when there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def significant(value: float | None) -> str:
    """Return a figure with about three digits; a dash when there is none."""
    if value is None:
        return "-"
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def quotient(above: float | None, below: float | None) -> float | None:
    """Divide; None when either is missing or the divisor is 0."""
    return above / below if above is not None and below else None


def times(value: float | None) -> str:
    """Return a ratio as ``5.12x``."""
    return "-" if value is None else f"{value:.2f}x"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in columns: the first column to the left, the others to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def facts(filesystem: str) -> dict[str, str]:
    """Return date, commit and machine: without them a figure can not be compared with another."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "machine": machine(filesystem),
    }


def markdown_title(what: str, known: dict[str, str]) -> str:
    """Return the head of a section for RESULTS.md."""
    return f"## {what}, {known['date']}, {known['commit']}\n\n{known['machine']}. {known.get('broker', '-')}.\n"


def commit() -> str:
    """Return the short commit, marked when the tree has uncommitted changes."""
    short = git("rev-parse", "--short", "HEAD") or "no commit"
    return f"{short} with uncommitted changes" if git("status", "--porcelain") else short


def git(*arguments: str) -> str:
    """Return what git prints in the repository; empty when it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine(filesystem: str) -> str:
    """Describe processor, memory, kernel, Python and the file system of the data."""
    model = first_value("/proc/cpuinfo", "model name") or platform.machine()
    memory_kb = int((first_value("/proc/meminfo", "MemTotal") or "0").split()[0])
    return (
        f"{os.cpu_count()} x {model}, {memory_kb / 2**20:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, data on {filesystem}"
    )


def first_value(path: str, key: str) -> str:
    """Return the first ``key : value`` of a /proc file; empty when there is none."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
