"""Memory and CPU of a process tree, read from /proc (Linux only)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SAMPLE_INTERVAL_S = 0.2

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process tree in KiB; ``high_water_kb`` is the kernel's maximum since its start."""

    rss_kb: int = 0
    high_water_kb: int = 0


def tree(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants; empty when the process is gone."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return [pid] if Path(f"/proc/{pid}").exists() else []
    return [pid, *(member for child in children for member in tree(child))]


def memory(pid: int) -> Memory:
    """Return the summed resident memory of the tree of ``pid``; zeros when it is gone."""
    rss_kb = high_water_kb = 0
    for member in tree(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                rss_kb += int(line.split()[1])
            elif line.startswith("VmHWM:"):
                high_water_kb += int(line.split()[1])
    return Memory(rss_kb, high_water_kb)


def cpu_s(pid: int) -> float:
    """Return the user and system CPU seconds the tree of ``pid`` has used so far."""
    ticks = 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def end_on_sigterm() -> None:
    """Make SIGTERM unwind like an error, so that started brokers are stopped and not left behind."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))


def settled_rss_kb(pid: int, wait_s: float = 1.0) -> int:
    """Return the resident memory of ``pid`` after ``wait_s``, when late allocations have shown themselves."""
    time.sleep(wait_s)
    return memory(pid).rss_kb


class MemorySampler:
    """Samples one process every 0.2 s in a thread and keeps the peak of each named phase.

    The process may change (a restart): call `watch` with the new pid, or with 0 while there is none. The
    kernel's high-water mark is read with each sample, so a peak between two samples is not missed.
    """

    def __init__(self) -> None:
        self.peaks_kb: dict[str, int] = {}
        self.high_water_kb = 0
        self.samples = 0
        self._pid = 0
        self._phase = "start"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak_kb(self) -> int:
        """The most memory seen in any phase, by sample or by high-water mark."""
        return max(self.high_water_kb, *self.peaks_kb.values()) if self.peaks_kb else 0

    def watch(self, pid: int) -> None:
        """Sample this process from now on; 0 pauses."""
        self._pid = pid

    def phase(self, name: str) -> None:
        """Count what is seen from now on under ``name``."""
        self._phase = name
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        pid, phase = self._pid, self._phase
        if not pid:
            return
        seen = memory(pid)
        self.samples += 1
        self.peaks_kb[phase] = max(self.peaks_kb.get(phase, 0), seen.rss_kb)
        self.high_water_kb = max(self.high_water_kb, seen.high_water_kb)
