"""Mutated sessions through real sockets to a broker in its own process, which must outlive them all."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutation import mutated, pieces
from tests.fuzz.sessions import sessions
from tests.fuzz.trial import CONNECTION_CLOSE_OK, NEVER_SENT
from tests.process.broker_process import BrokerProcess
from tests.process.client import Client

pytestmark = pytest.mark.interop

SESSIONS = 100
AT_ONCE = 50  # some are closed after three seconds without a word, as they must be
SECONDS = 20.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    one = BrokerProcess(tmp_path)
    one.start()
    yield one
    one.stop()  # looks for bugs in the log
    one.close()


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def say(sock: socket.socket, parts: list[bytes]) -> None:
    """Send everything, then the end; a broker that has closed already may refuse some of it."""
    with contextlib.suppress(ConnectionError):
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)


def hear(sock: socket.socket) -> bytes:
    """Everything until the broker closes, which it must do soon after the client's end."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            heard += piece
    return heard


def test_good_sessions_go_through(broker: BrokerProcess) -> None:
    for session in sessions("guest", "guest")[:4]:
        with connected(broker.port) as sock:
            say(sock, [session])
            assert hear(sock).endswith(CONNECTION_CLOSE_OK)


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_sessions_harm_nobody(broker: BrokerProcess, seed: int) -> None:
    chance = random.Random(seed)
    good = sessions("guest", "guest")
    witness = Client(broker.port)
    for _ in range(SESSIONS // AT_ONCE):
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connected(broker.port)) for _ in range(AT_ONCE)]
            for sock in socks:
                say(sock, pieces(mutated(chance.choice(good), good, chance), chance))
            for sock in socks:
                heard = hear(sock)
                assert not [text for text in NEVER_SENT if text in heard], heard
        assert broker.running(), broker.log()
        witness.declare("witness")
    witness.close()
