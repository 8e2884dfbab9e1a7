"""The poller with real sockets: a fault in one link, or a peer that is gone, ends nobody else."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import trio

from amqpd.server.inbox import Inbox
from amqpd.server.links import Link
from amqpd.server.poller import Listener, Poller
from amqpd.session.connection import Connection
from interop.conformance.codec import PROTOCOL_HEADER
from tests.support.linked import Linked

SECONDS = 60


class Told:
    """What links report."""

    def __init__(self) -> None:
        self.rejections: list[str] = []
        self.faults: list[BaseException] = []

    def accepted(self, connection: Connection, peer: str, host: str, tls: str) -> None: ...

    def rejected(self, peer: str, host: str, reason: str) -> None:
        self.rejections.append(reason)

    def broke(self, link: Link, error: BaseException) -> None:
        self.faults.append(error)


class Bench:
    """A poller that listens on ``port``."""

    def __init__(self, connection_max: int = -1) -> None:
        linked = Linked()
        self.told = Told()
        self.poller = Poller(
            linked.environment,
            Inbox(),
            self.told,
            lambda batch: None,
            lambda request: None,
            lambda connection, attempt: None,
            connection_max=connection_max,
        )
        sock = socket.create_server(("127.0.0.1", 0))
        self.streams: list[trio.SocketStream] = []
        self.port: int = sock.getsockname()[1]
        self.poller.listen(Listener(sock, None))

    def close(self) -> None:
        self.poller.stop_listening()
        for link in list(self.poller.links.values()):
            link.close()
        for stream in self.streams:
            stream.socket.close()

    async def connected(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        return stream

    async def greeted(self) -> trio.SocketStream:
        """A client that got connection.start."""
        stream = await self.connected()
        await stream.send_all(PROTOCOL_HEADER)
        assert (await stream.receive_some())[:1] == b"\x01"
        return stream

    def reset(self) -> None:
        """Somebody who connects and is gone before the broker looks."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@contextlib.asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[None]:
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.poller.run)
            try:
                yield
            finally:
                bench.close()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("connection_max", [-1, 0])
def test_peer_that_is_gone_before_it_is_accepted_harms_nobody(connection_max: int) -> None:
    async def scenario() -> None:
        bench = Bench(connection_max)
        bench.reset()
        async with serving(bench):
            if connection_max:
                await bench.greeted()
            else:
                stream = await bench.connected()
                assert await stream.receive_some() == b""
                assert bench.told.rejections[-1] == "connection_max is reached"

    trio.run(scenario)


@pytest.mark.parametrize("places", [["readable"], ["push"], ["push", "lost"]])
def test_fault_in_one_link_cuts_that_link_only(places: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench()
        async with serving(bench):
            first = await bench.connected()
            while not bench.poller.links:
                await trio.lowlevel.checkpoint()
            (link,) = bench.poller.links.values()

            def fault(*arguments: object) -> None:
                raise RuntimeError("a fault of ours")

            for place in places:
                monkeypatch.setattr(link, place, fault)
            await first.send_all(PROTOCOL_HEADER)
            with contextlib.suppress(trio.BrokenResourceError):
                while await first.receive_some():
                    pass
            assert link.closed
            assert [str(error) for error in bench.told.faults] == ["a fault of ours"] * len(places)
            await bench.greeted()

    trio.run(scenario)


def test_each_read_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is read late in a round, and delayed, must not be due before its time."""
    bench = Bench()
    seen: list[int] = []
    received = Connection.receive_data

    def receive(connection: Connection, data: bytes) -> None:
        seen.append(bench.poller.broker.now)
        received(connection, data)

    monkeypatch.setattr(Connection, "receive_data", receive)
    monkeypatch.setattr("amqpd.server.links.now_ms", lambda: 5_000_000_000_000 + len(seen))

    async def scenario() -> None:
        async with serving(bench):
            await bench.greeted()
            await bench.greeted()

    trio.run(scenario)
    assert seen == [5_000_000_000_000, 5_000_000_000_001]
