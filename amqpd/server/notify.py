"""Telling systemd how the broker is: the sd_notify protocol, datagrams to the socket in ``NOTIFY_SOCKET``."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import final


@final
class Notifier:
    """Sends states to the service manager; without an address it does nothing.

    ``address`` is a path, or ``@name`` for a socket in the abstract namespace. A manager that is gone or does
    not read is no reason to stop: errors are ignored, nothing blocks.
    """

    def __init__(self, address: str = "") -> None:
        # A leading zero byte is how Linux names an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str = "") -> None:
        """The ports are open; also ends a reload."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """The configuration is being read again. Followed by ``ready``."""
        # systemd matches the reload with its request by this clock.
        self._send("RELOADING=1", monotonic_usec=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("", text)

    def watchdog(self) -> None:
        """The broker is alive. Call it twice as often as ``watchdog_interval`` asks."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "", monotonic_usec: int | None = None) -> None:
        if not self._address:
            return
        lines = [state] if state else []
        if monotonic_usec is not None:
            lines.append(f"MONOTONIC_USEC={monotonic_usec}")
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between signs of life: half of what systemd waits. None when it does not wait for any."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0:
        return None
    # The variables may have been inherited from a parent that was meant.
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 2_000_000
