"""The load generator amqpbench: where it is, how it is built, how it is run, what it answers.

Its directory or binary is given by AMQPBENCH (default: ../shared/bench beside the repository). A directory is
built into .cache/bench of the repository.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness.client import Address

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SOURCE = ROOT.parent / "shared" / "bench"
# The generator itself gives up 60 s after its window (--drain); what is longer than this hangs.
OVERTIME_S = 240.0
FAULTS = (
    *("lost", "undelivered", "duplicate", "reordered", "corrupt", "foreign"),
    *("unconfirmed", "nacked", "returned", "wrong_count_samples", "stuck"),
)


class GeneratorMissing(Exception):
    """The load generator can not be found or built."""


@dataclass(frozen=True)
class Answer:
    """One run's summary line. ``ok`` is false for a failed integrity check and for any error."""

    ok: bool
    summary: Mapping[str, object] = field(default_factory=dict)
    error: str = ""

    def number(self, path: str) -> float | None:
        """Return a figure by dotted path, ``confirm_us.p50``; None when the run has none."""
        at: object = self.summary
        for key in path.split("."):
            if not isinstance(at, Mapping) or key not in at:
                return None
            at = at[key]
        return float(at) if isinstance(at, (int, float)) else None


class Generator:
    """A built amqpbench. ``place`` is the binary or the directory of its source; None takes AMQPBENCH."""

    def __init__(self, place: str | None = None) -> None:
        path = Path(place or os.environ.get("AMQPBENCH") or DEFAULT_SOURCE).resolve()
        self.binary = built(path) if path.is_dir() else path
        if not os.access(self.binary, os.X_OK):
            raise GeneratorMissing(f"no load generator at {path}: set AMQPBENCH to the binary or its source directory")

    def run(self, address: Address, arguments: Sequence[str], *, pid: int | None, longest_s: float) -> Answer:
        """Run once and wait. ``longest_s`` is the window; a run that hangs long after it is killed."""
        command = [str(self.binary), *arguments, "--json", *address_arguments(address)]
        if pid:
            command += ["--pid", str(pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=longest_s + OVERTIME_S)
        except subprocess.TimeoutExpired:
            return Answer(False, error=f"still running {OVERTIME_S:.0f} s after its window")
        return read_answer(done)


def address_arguments(address: Address) -> list[str]:
    """Return the options that tell amqpbench where to go."""
    return [
        *("--host", address.host, "--port", str(address.port)),
        *("--user", address.user, "--password", address.password, "--vhost", address.vhost),
    ]


def read_answer(done: subprocess.CompletedProcess[str]) -> Answer:
    """Read the one JSON line; anything else, or an exit status other than 0, is a failed run."""
    lines = done.stdout.strip().splitlines()
    try:
        summary = json.loads(lines[-1]) if lines else None
    except ValueError:
        summary = None
    if not isinstance(summary, dict):
        return Answer(False, error=done.stderr.strip() or f"exit status {done.returncode} without a summary")
    error = str(summary.get("error", "")) or faults(summary)
    return Answer(done.returncode == 0 and summary.get("ok") is True, summary, error)


def faults(summary: Mapping[str, object]) -> str:
    """Name the integrity counters that are not 0."""
    return ", ".join(f"{name} {summary[name]}" for name in FAULTS if summary.get(name))


def built(directory: Path) -> Path:
    """Compile amqpbench.c of ``directory`` when the cached binary is missing or older; returns the binary."""
    source, binary = directory / "amqpbench.c", ROOT / ".cache" / "bench" / "amqpbench"
    if not source.is_file():
        raise GeneratorMissing(f"no amqpbench.c in {directory}: set AMQPBENCH to the binary or its source directory")
    if binary.is_file() and binary.stat().st_mtime >= source.stat().st_mtime:
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-pthread", "-o", str(fresh), str(source), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise GeneratorMissing(f"can not run the C compiler {compiler}: {error}") from error
    if done.returncode:
        raise GeneratorMissing(f"can not build {source}:\n{done.stderr}")
    fresh.rename(binary)
    return binary
