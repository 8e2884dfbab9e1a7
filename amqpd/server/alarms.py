"""Resource alarms: memory and disk looked at now and then; publishers are blocked while one is short.

RabbitMQ's semantics: ``vm_memory_high_watermark`` and ``disk_free_limit``; consumers go on.
"""

from __future__ import annotations

import os
from pathlib import Path

from amqpd.broker.broker import Broker
from amqpd.server.logs import Log
from amqpd.server.settings import Settings

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def machine_memory() -> int:
    """Octets of memory this process may have: the container's limit where there is one."""
    total = PAGE_SIZE * os.sysconf("SC_PHYS_PAGES")
    for path in CGROUP_LIMITS:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


class UsedMemory:
    """Resident octets of this process.

    The file stays open, so that a broker without a free descriptor can still look.
    """

    def __init__(self) -> None:
        self._descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def look(self) -> int:
        return int(os.pread(self._descriptor, 128, 0).split()[1]) * PAGE_SIZE

    def close(self) -> None:
        os.close(self._descriptor)


def free_disk(directory: Path) -> int:
    """Octets an ordinary user may still write there."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


class Alarms:
    """``store_trouble``: the store itself cannot write; it counts as a short disk."""

    def __init__(self, broker: Broker, log: Log, settings: Settings) -> None:
        self._broker = broker
        self._log = log
        self._on: dict[str, bool] = {}
        self.store_trouble = False
        self.used_memory = UsedMemory()
        self.memory_total = machine_memory()
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Take limits from (new) settings."""
        self._directory = Path(settings.store.data_dir)
        self.memory_limit = settings.limits.memory_high_watermark.resolve(self.memory_total)
        self.disk_limit = settings.limits.disk_free_limit.resolve(self.memory_total)

    def look(self) -> None:
        """Compare what is used with the limits, and tell the broker."""
        self._set("memory", self.used_memory.look() > self.memory_limit)
        self._set("disk", self.store_trouble or self._disk_short())

    def _disk_short(self) -> bool:
        try:
            return free_disk(self._directory) < self.disk_limit
        except OSError:
            return True  # a directory that cannot be looked at cannot be written to

    def active(self) -> list[str]:
        return [name for name, on in self._on.items() if on]

    def _set(self, name: str, on: bool) -> None:
        if self._on.get(name, False) == on:
            return
        self._on[name] = on
        if on:
            self._log.warning(f"{name} resource limit alarm set: publishers are blocked until it clears")
        else:
            self._log.warning(f"{name} resource limit alarm cleared")
        self._broker.set_alarm(name, on)
