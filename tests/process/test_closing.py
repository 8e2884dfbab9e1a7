"""How a connection's socket ends."""

from __future__ import annotations

from pamqp import commands

from tests.process.broker_process import BrokerProcess
from tests.process.client import Client, publish_frames


def test_frames_behind_the_clients_close_are_dropped_and_not_answered_with_a_reset(shared: BrokerProcess) -> None:
    with Client(shared.port) as client:
        client.send(commands.Connection.Close(200, "bye", 0, 0), 0)
        client.wait(commands.Connection.CloseOk)
        for _ in range(3):
            client.sock.sendall(publish_frames("nowhere", b"late"))
        assert client.sock.recv(1) == b""
