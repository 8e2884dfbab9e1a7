"""What the service manager is told, received on a real socket."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqpd.server.notify import Notifier, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address as the variable has it, and the socket of the service manager."""
    address = f"@amqpd-test-{uuid.uuid4()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0"))
        receiver.settimeout(60)
        yield address, receiver


def test_states_arrive(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready("listening on\n127.0.0.1:5672")
    notifier.status("blocked")
    notifier.watchdog()
    notifier.stopping()
    received = [receiver.recv(4096).decode() for _ in range(4)]
    assert received == [
        "READY=1\nSTATUS=listening on 127.0.0.1:5672",
        "STATUS=blocked",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_reload_carries_the_monotonic_clock(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    before = time.monotonic_ns() // 1000
    Notifier(address).reloading()
    state, _, stamp = receiver.recv(4096).decode().partition("\n")
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_nobody_to_tell_is_no_error(tmp_path: Path) -> None:
    Notifier().ready()
    Notifier(str(tmp_path / "gone")).ready()


def test_manager_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        for _ in range(1000):
            notifier.status("x" * 1000)


def test_watchdog_interval_is_half_of_what_is_waited_for() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 15.0


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
def test_no_watchdog_without_a_valid_interval_for_this_process(environ: dict[str, str]) -> None:
    assert watchdog_interval(environ) is None
