"""The broker without sockets, threads and clock: what the server does by itself, a test does by hand.

    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True)
    client.send("confirm.select")
    client.publish("", "q", b"body", {"delivery_mode": 2})
    linked.commit()                                         # until then nothing persistent is confirmed
    client.names()                                          # ["confirm.select-ok", "basic.ack"]

1. Every input (``LinkedClient.feed``, ``Linked.advance``, a commit, a page) is followed by a turn.
2. Time stands still but for ``advance``.
3. Nothing is written but by ``take`` and ``write`` (one batch) or ``commit`` (until all is on disk), and no
   page is read but by ``load_pages``; ``settle`` does both until nothing is left to do.
4. A restart is a new ``Linked`` over the same store's content: ``stop`` or ``crash`` this one first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from amqpd.auth.attempt import VerifiedPasswords
from amqpd.auth.mechanisms import Peer, configured
from amqpd.auth.passwords import SHA256, create_rabbitmq
from amqpd.auth.users import Users
from amqpd.broker.batch import Batch, Definition
from amqpd.broker.broker import Broker
from amqpd.broker.registry import Registry
from amqpd.features import builtin
from amqpd.session import basic_methods, channel_methods, exchange_methods, queue_methods
from amqpd.session.connection import CLOSED, Connection
from amqpd.session.environment import Environment, QuietLog
from amqpd.session.handshake import Handshake, server_properties
from amqpd.store.contract import Store
from amqpd.store.memory import MemoryStore
from interop.conformance.codec import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    METHODS,
    PROTOCOL_HEADER,
    WITH_CONTENT,
    decode_method,
    decode_properties,
    encode_arguments,
    encode_properties,
    frame,
)

START_MS = 1_000_000
PASSWORD = "secret"
CAPABILITIES = {
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Received(NamedTuple):
    """A method with its content, or a frame without one: then ``name`` is ``heartbeat``."""

    channel: int
    name: str
    values: dict[str, Any]
    properties: dict[str, Any]
    body: bytes


def method(name: str, /, on: int = 1, **values: Any) -> bytes:
    """A method frame."""
    return frame(METHOD, on, encode_arguments(METHODS[name], values))


def publication(
    exchange: str = "",
    routing_key: str = "",
    body: bytes = b"",
    properties: Mapping[str, Any] | bytes = b"\0\0",
    *,
    on: int = 1,
    frame_max: int = 131072,
    **flags: bool,
) -> bytes:
    """basic.publish with its content."""
    size = frame_max - 8
    head = b"\0\x3c\0\0" + len(body).to_bytes(8, "big") + encode_properties(properties)
    return b"".join(
        [
            method("basic.publish", on=on, exchange=exchange, routing_key=routing_key, **flags),
            frame(HEADER, on, head),
            *[frame(BODY, on, body[at : at + size]) for at in range(0, len(body), size)],
        ]
    )


class Log(QuietLog):
    """Keeps what sessions report: (event, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def refused(self, connection: Connection, reason: str) -> None:
        self.lines.append(("refused", reason))

    def lost(self, connection: Connection, reason: str) -> None:
        self.lines.append(("lost", reason))

    def closed(self, connection: Connection) -> None:
        self.lines.append(("closed", ""))

    def crashed(self, connection: Connection, error: BaseException) -> None:
        """A fault of ours is a fault of the test."""
        raise AssertionError("the broker failed") from error


class Linked:
    """``store`` is opened here; an empty one gets a vhost ``/`` and a user ``guest`` with all rights.

    Passwords are ``PASSWORD``. ``plugins`` are their ``register`` functions. ``limits`` are fields of ``Environment``.
    """

    def __init__(
        self,
        store: Store | None = None,
        now: int = START_MS,
        plugins: Sequence[Callable[[Registry], None]] = (),
        **limits: Any,
    ) -> None:
        self.store: Store = store if store is not None else MemoryStore()
        opened = self.store.open("main", "test")
        self.reader = self.store.reader()
        registry = Registry()
        builtin.register(registry)
        for register in plugins:
            register(registry)
        self.broker = Broker(registry, opened.next_message_id, opened.last_batch)
        self.broker.now = now
        self.users = Users(self._define, (), VerifiedPasswords(b"k" * 32), events=self.broker.events)
        self._restore(opened.clean)
        self.log = Log()
        self.environment = self._environment(limits)
        self.clients: list[LinkedClient] = []
        self.batch: Batch | None = None  # taken, not written
        self._tokens = 0
        if not self.broker.vhosts:
            self._make_defaults()

    def _define(self, definition: Definition) -> None:
        self.broker.journal.define(definition)
        self.broker.revision.value += 1

    def _restore(self, clean: bool) -> None:
        summary = self.reader.summary()
        for definition in summary.definitions:
            self.users.apply(definition)
        self.broker.restore(summary, clean)
        self.broker.started(self.reader)

    def _make_defaults(self) -> None:
        self.broker.create_vhost("/")
        self.add_user("guest")
        self.commit()

    def _environment(self, limits: dict[str, Any]) -> Environment:
        return Environment(
            broker=self.broker,
            backend=self.users,
            limiter=self.users,
            mechanisms=configured(),
            token=self._token,
            log=self.log,
            server_properties=server_properties("RabbitMQ", "3.13.7", "test", "test", "0"),
            handlers={
                **channel_methods.HANDLERS,
                **exchange_methods.HANDLERS,
                **queue_methods.HANDLERS,
                **basic_methods.HANDLERS,
            },
            **limits,
        )

    def _token(self) -> str:
        self._tokens += 1
        return f"{self._tokens:022d}"

    def add_user(
        self,
        name: str,
        permissions: tuple[str, str, str] | None = (".*", ".*", ".*"),
        tags: tuple[str, ...] = (),
        vhost: str = "/",
    ) -> None:
        """A user with ``PASSWORD``; ``permissions`` are configure, write and read, None for none."""
        self.users.add_user(name, create_rabbitmq(PASSWORD.encode(), b"salt", SHA256), SHA256, tags)
        if permissions is not None:
            self.users.set_permissions(name, vhost, *permissions)

    # Connections

    def dial(self) -> LinkedClient:
        """A connection on which nothing was said yet."""
        client = LinkedClient(self, len(self.clients) + 1)
        self.clients.append(client)
        return client

    def client(self, channels: int = 1, **steps: Any) -> LinkedClient:
        """An open connection with this many open channels; takes the steps of ``LinkedClient.connect``."""
        client = self.dial().connect(**steps)
        for number in range(1, channels + 1):
            client.call("channel.open", on=number)
        return client

    # Turns and time

    def turn(self) -> None:
        """What follows every input: turns until nothing is left to decide, and bytes to the clients."""
        self._turn()
        while self.broker.busy() or self.environment.logins:
            self._check_logins()
            self._turn()

    def _turn(self) -> None:
        self.broker.run_turn()
        assert not [line for line in self.broker.reports if "failed" in line]  # a fault of ours is a fault of the test
        outboxes = list(self.broker.outboxes)
        self.broker.outboxes.clear()
        for outbox in outboxes:
            assert isinstance(outbox.link, LinkedClient)
            outbox.link.flush()

    def _check_logins(self) -> None:
        logins = self.environment.logins
        self.environment.logins = []
        for connection, attempt in logins:
            connection.handshake.login_checked(connection, attempt, attempt.check())

    def advance(self, milliseconds: int) -> None:
        """Let time pass: every deadline on the way is its own input, at its own time."""
        end = self.broker.now + milliseconds
        while (deadline := self.broker.next_deadline()) and deadline <= end:
            self.broker.now = max(self.broker.now, deadline)
            self.broker.tick(self.broker.now)
            self.turn()
        self.broker.now = end

    # The store

    def take(self) -> Batch | None:
        """Seal the open batch if none is under way; None when there is nothing to write."""
        self.batch = self.broker.take_batch() or self.batch
        self.turn()
        return self.batch

    def write(self) -> None:
        """Commit the batch that was taken. Raises what the store raises: then it is still to be written."""
        assert self.batch is not None, "no batch was taken"
        self.store.commit(self.batch)
        self.committed()

    def committed(self) -> None:
        """The store says that the batch that was taken is on disk."""
        self.batch = None
        self.broker.batch_committed()
        self.turn()

    def commit(self) -> None:
        """Write until everything is on disk."""
        while self.take() is not None:
            self.write()

    def load_pages(self) -> int:
        """Read the pages the queues ask for; returns how many."""
        requests = self.broker.take_page_requests()
        for request in requests:
            page = request.read(self.reader)
            self.broker.page_loaded(request, page)
            self.turn()
        return len(requests)

    def settle(self) -> None:
        """Commit and read pages until there is nothing left to do."""
        self.commit()
        while self.load_pages():
            self.commit()

    def stop(self) -> None:
        """Shut down in order: connections end, everything is written, the store is released."""
        for client in self.clients:
            client.hang_up()
        self.broker.finish()
        self.commit()
        self.store.close(release=True)

    def crash(self) -> None:
        """The process dies: what was not committed is gone."""
        self.store.close(release=False)


class LinkedClient:
    """A connection with its client. ``reading`` False: the client reads nothing, its outbox fills.

    ``inbox``: what came and was not looked at yet. ``ended``: the broker closed the socket.
    """

    def __init__(self, linked: Linked, number: int) -> None:
        self.linked = linked
        handshake = Handshake(linked.environment, Peer("127.0.0.1:1", True, None))
        self.connection = Connection(linked.environment, number, f"client {number}", handshake)
        self.connection.outbox.link = self
        self.reading = True
        self.ended = False
        self.inbox: deque[Received] = deque()
        self._bytes = b""
        self._pieces: Received | None = None  # a method whose content is not complete
        self._body_left = -1
        timers, timeout = linked.broker.timers, linked.environment.handshake_timeout_ms
        timers.set(self.connection.close_timer, linked.broker.now + timeout)

    # The broker's side of the socket

    def flush(self) -> None:
        outbox = self.connection.outbox
        data = outbox.take()
        self._bytes += data
        if self.reading:
            self._decode()
        outbox.unsent = len(self._bytes)
        self.ended = self.connection.state == CLOSED
        if self.connection.starved:
            self.connection.drained()

    def read_again(self) -> None:
        """A client that did not read reads everything."""
        self.reading = True
        while self._bytes or self.linked.broker.busy():
            self.flush()
            self.linked.turn()

    def feed(self, data: bytes) -> None:
        """Bytes for the broker, in one piece, and the turn that follows."""
        self.connection.receive_data(data)
        self.linked.turn()

    def hang_up(self) -> None:
        """The socket ends without a word."""
        self.connection.lost("client unexpectedly closed TCP connection")
        self.linked.turn()

    # The client's side

    def connect(
        self,
        user: str = "guest",
        password: str = PASSWORD,
        vhost: str = "/",
        *,
        capabilities: Mapping[str, bool] = CAPABILITIES,
        channel_max: int = 2047,
        frame_max: int = 131072,
        heartbeat: int = 0,
    ) -> LinkedClient:
        """Header to open-ok. Fails where the broker refuses."""
        self.feed(PROTOCOL_HEADER)
        self.expect("connection.start")
        properties = {"capabilities": dict(capabilities)}
        response = f"\0{user}\0{password}".encode()
        self.send("connection.start-ok", 0, client_properties=properties, mechanism="PLAIN", response=response)
        self.expect("connection.tune")
        self.send("connection.tune-ok", 0, channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)
        self.send("connection.open", 0, virtual_host=vhost)
        self.expect("connection.open-ok")
        return self

    def send(self, name: str, /, on: int = 1, **values: Any) -> None:
        self.feed(method(name, on, **values))

    def publish(self, *args: Any, **values: Any) -> None:
        """Takes the arguments of ``publication``."""
        self.feed(publication(*args, **values))

    def call(self, name: str, /, on: int = 1, **values: Any) -> dict[str, Any]:
        """Send a method; its -ok must be the next that comes. Returns its arguments.

        Where the reply waits for the disk, everything open is written.
        """
        self.send(name, on, **values)
        if not self.inbox:
            self.linked.commit()
        return self.expect(f"{name}-ok", on).values

    def expect(self, name: str, on: int | None = None) -> Received:
        """The next that came must be this."""
        assert self.inbox, f"wanted {name}, nothing came"
        came = self.inbox.popleft()
        assert came.name == name, f"wanted {name}, got {came}"
        assert on is None or came.channel == on, came
        return came

    def received(self) -> list[Received]:
        """Everything that came and was not looked at yet."""
        came = list(self.inbox)
        self.inbox.clear()
        return came

    def names(self) -> list[str]:
        """The names of everything that came."""
        return [came.name for came in self.received()]

    def bodies(self) -> list[bytes]:
        """The bodies of everything that came: all must be deliveries."""
        came = self.received()
        assert {one.name for one in came} <= {"basic.deliver"}, came
        return [one.body for one in came]

    def taken(self, queue: str = "q") -> list[bytes]:
        """The bodies of everything the queue holds, got without acknowledgement. What came before is forgotten."""
        self.linked.settle()
        self.inbox.clear()
        found: list[bytes] = []
        while True:
            self.send("basic.get", queue=queue, no_ack=True)
            self.linked.settle()
            (came,) = self.received()
            if came.name == "basic.get-empty":
                return found
            found.append(came.body)

    def _decode(self) -> None:
        data = self._bytes
        at = 0
        while data[:4] != b"AMQP" and at + 7 <= len(data):
            size = int.from_bytes(data[at + 3 : at + 7], "big")
            if at + size + 8 > len(data):
                break
            assert data[at + size + 7] == 0xCE
            self._take_frame(data[at], int.from_bytes(data[at + 1 : at + 3], "big"), data[at + 7 : at + 7 + size])
            at += size + 8
        self._bytes = data[at:]

    def _take_frame(self, kind: int, channel: int, payload: bytes) -> None:
        pieces = self._pieces
        if kind == HEARTBEAT:
            self.inbox.append(Received(channel, "heartbeat", {}, {}, b""))
        elif kind == METHOD:
            assert pieces is None, f"{pieces} is not complete"
            row, values = decode_method(payload)
            came = Received(channel, row.name, values, {}, b"")
            if row.name in WITH_CONTENT:
                self._pieces = came
            else:
                self.inbox.append(came)
        else:
            assert pieces is not None
            assert pieces.channel == channel
            if kind == HEADER:
                self._body_left = int.from_bytes(payload[4:12], "big")
                pieces = pieces._replace(properties=decode_properties(payload[12:]))
            else:
                self._body_left -= len(payload)
                pieces = pieces._replace(body=pieces.body + payload)
            self._pieces = pieces
            if self._body_left == 0:
                self.inbox.append(pieces)
                self._pieces = None
