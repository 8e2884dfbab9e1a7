"""A small blocking client that shows every frame: for tests that look at what a broker does to a socket.

It reads only when it is asked to, so it can be a client that does not read. What arrives while something else
is awaited is kept in ``others``.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self, TypeVar

from pamqp import base, body, commands, frame, header, heartbeat

F = TypeVar("F", bound=base.Frame)

TIMEOUT_SECONDS: Final = 60.0
READ_BYTES: Final = 1 << 18
CAPABILITIES: Final[dict[str, Any]] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}
PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"


class Closed(Exception):
    """The broker closed the connection or a channel; ``code`` is its reply code, 0 for the bare socket."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class Message(NamedTuple):
    delivery_tag: int
    redelivered: bool
    body: bytes
    headers: dict[str, Any]


def connect(port: int, host: str = "127.0.0.1", seconds: float = TIMEOUT_SECONDS) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def publish_frames(
    routing_key: str, content: bytes, exchange: str = "", persistent: bool = True, channel: int = 1
) -> bytes:
    """basic.publish with its content, in frames of 128 KiB."""
    pieces = [
        frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), channel),
        struct.pack(">BHIHHQHBB", 2, channel, 15, 60, 0, len(content), 0x1000, 2 if persistent else 1, 0xCE),
    ]
    # The delivery mode is the only property: 12 octets, two of flags, one of the mode.
    for at in range(0, len(content), 131064):
        piece = content[at : at + 131064]
        pieces.append(struct.pack(">BHI", 3, channel, len(piece)) + piece + b"\xce")
    return b"".join(pieces)


class Client:
    """An open connection with channel 1 open. Raises Closed when the broker refuses it."""

    def __init__(
        self,
        port: int,
        user: str = "guest",
        password: str = "guest",
        vhost: str = "/",
        *,
        sock: socket.socket | None = None,
        mechanism: str = "PLAIN",
        response: bytes | None = None,
        name: str = "",
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.sock = sock if sock is not None else connect(port, seconds=seconds)
        self.buffer = b""
        self.others: deque[tuple[int, base.Frame]] = deque()
        self.messages: deque[Message] = deque()
        self.echo_queue = ""
        self.published = self.confirmed = 0
        self._delivery: tuple[int, bool] | None = None
        self._left = 0
        self._headers: dict[str, Any] = {}
        self._pieces: list[bytes] = []
        try:
            self._open(vhost, mechanism, response if response is not None else f"\0{user}\0{password}".encode(), name)
        except BaseException:
            self.sock.close()
            raise

    def __del__(self) -> None:
        self.sock.close()  # a test that fails, or is about clients that just go

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.sock.close()

    def _open(self, vhost: str, mechanism: str, response: bytes, name: str) -> None:
        self.sock.sendall(PROTOCOL_HEADER)
        self.start = self.wait(commands.Connection.Start)
        properties: dict[str, Any] = {"capabilities": CAPABILITIES}
        if name:
            properties["connection_name"] = name
        self.send(commands.Connection.StartOk(properties, mechanism, response.decode("latin-1"), "en_US"), 0)
        tune = self.wait(commands.Connection.Tune)
        self.send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self.send(commands.Connection.Open(vhost), 0)
        self.wait(commands.Connection.OpenOk)
        self.open_channel(1)

    def open_channel(self, channel: int) -> None:
        self.send(commands.Channel.Open(), channel)
        self.wait(commands.Channel.OpenOk)

    # Frames

    def send(self, method: base.Frame, channel: int = 1) -> None:
        self.sock.sendall(frame.marshal(method, channel))

    def wait(self, kind: type[F], seconds: float | None = None) -> F:
        """The next method of this kind. Raises Closed, and TimeoutError when ``seconds`` pass first."""
        for at, (_, method) in enumerate(self.others):
            if isinstance(method, kind):
                del self.others[at]
                return method
        deadline = time.monotonic() + (seconds if seconds is not None else TIMEOUT_SECONDS)
        while True:
            for channel, method in self.read(max(deadline - time.monotonic(), 0.001)):
                self.others.append((channel, method))
            for at, (_, method) in enumerate(self.others):
                if isinstance(method, kind):
                    del self.others[at]
                    return method
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {kind.name}")

    def read(self, seconds: float) -> list[tuple[int, base.Frame]]:
        """What one read of the socket brings: methods are returned, messages go to ``messages``.

        Raises TimeoutError when nothing comes, Closed when the broker closes anything.
        """
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(READ_BYTES)
        except ssl.SSLWantReadError:
            raise TimeoutError from None
        except ConnectionError as error:
            raise Closed(0, str(error)) from None
        if not data:
            raise Closed(0, "socket closed")
        self.buffer += data
        return list(self._methods())

    def _methods(self) -> Iterator[tuple[int, base.Frame]]:
        at = 0
        buffer = self.buffer
        try:
            while len(buffer) - at >= 7:
                size = int.from_bytes(buffer[at + 3 : at + 7], "big") + 8
                if len(buffer) - at < size:
                    break
                one = buffer[at : at + size]
                at += size
                _, channel, value = frame.unmarshal(one)
                if isinstance(value, (header.ContentHeader, body.ContentBody)):
                    self._content(value)
                elif isinstance(value, (commands.Basic.Deliver, commands.Basic.GetOk)):
                    self._delivery = (int(value.delivery_tag or 0), value.redelivered)
                    if isinstance(value, commands.Basic.GetOk):
                        yield channel, value
                elif isinstance(value, commands.Basic.Return):
                    self._delivery = (0, False)
                    yield channel, value
                elif isinstance(value, (commands.Connection.Close, commands.Channel.Close)):
                    raise Closed(int(value.reply_code or 0), value.reply_text)
                elif not isinstance(value, heartbeat.Heartbeat):
                    assert isinstance(value, base.Frame)
                    yield channel, value
        finally:
            self.buffer = buffer[at:]

    def _content(self, value: header.ContentHeader | body.ContentBody) -> None:
        if isinstance(value, header.ContentHeader):
            self._left = value.body_size
            self._headers = dict(value.properties.headers or {})
            self._pieces = []
        else:
            assert value.value is not None
            self._left -= len(value.value)
            self._pieces.append(value.value)
        if self._left == 0:
            assert self._delivery is not None
            self.messages.append(Message(*self._delivery, b"".join(self._pieces), self._headers))
            self._delivery = None

    # What tests do all the time

    def declare(
        self,
        queue: str,
        durable: bool = True,
        passive: bool = False,
        channel: int = 1,
        arguments: dict[str, Any] | None = None,
    ) -> int:
        """The number of ready messages."""
        method = commands.Queue.Declare(queue=queue, durable=durable, passive=passive, arguments=arguments)
        self.send(method, channel)
        return int(self.wait(commands.Queue.DeclareOk).message_count or 0)

    def count(self, queue: str) -> int:
        return self.declare(queue, passive=True)

    def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        self.send(commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key))
        self.wait(commands.Queue.BindOk)

    def purge(self, queue: str) -> int:
        self.send(commands.Queue.Purge(queue=queue))
        return int(self.wait(commands.Queue.PurgeOk).message_count or 0)

    def delete(self, queue: str) -> None:
        self.send(commands.Queue.Delete(queue=queue))
        self.wait(commands.Queue.DeleteOk)

    def confirm_select(self, channel: int = 1) -> None:
        self.send(commands.Confirm.Select(), channel)
        self.wait(commands.Confirm.SelectOk)
        self.published = self.confirmed = 0

    def publish(self, queue: str, content: bytes, exchange: str = "", persistent: bool = True) -> None:
        self.published += 1
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.sendall(publish_frames(queue, content, exchange, persistent))

    def wait_confirms(self, up_to: int | None = None, seconds: float = TIMEOUT_SECONDS) -> None:
        """Until all publishes (or the first ``up_to``) are acked. Raises AssertionError at a nack."""
        wanted = self.published if up_to is None else up_to
        deadline = time.monotonic() + seconds
        self.take_confirms()
        while self.confirmed < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.confirmed} of {wanted} confirmed")
            self.others.extend(self.read(left))
            self.take_confirms()

    def take_confirms(self) -> None:
        """Account for the acks that were read. The broker confirms in order, so a number is enough."""
        kept: deque[tuple[int, base.Frame]] = deque()
        for channel, method in self.others:
            assert not isinstance(method, commands.Basic.Nack), "a publish was refused"
            if isinstance(method, commands.Basic.Ack):
                tag = int(method.delivery_tag or 0)
                assert tag > self.confirmed
                assert method.multiple or tag == self.confirmed + 1
                self.confirmed = tag
            else:
                kept.append((channel, method))
        self.others = kept

    def put(self, queue: str, content: bytes, exchange: str = "", persistent: bool = True) -> None:
        """Publish one message and wait for its confirm."""
        self.publish(queue, content, exchange, persistent)
        self.wait_confirms()

    def get(self, queue: str, no_ack: bool = True) -> Message | None:
        self.send(commands.Basic.Get(queue=queue, no_ack=no_ack))
        while True:
            for at, (_, method) in enumerate(self.others):
                if isinstance(method, commands.Basic.GetEmpty):
                    del self.others[at]
                    return None
                if isinstance(method, commands.Basic.GetOk):
                    del self.others[at]
                    while not self.messages:
                        self.others.extend(self.read(TIMEOUT_SECONDS))
                    return self.messages.popleft()
            self.others.extend(self.read(TIMEOUT_SECONDS))

    def consume(
        self,
        queue: str,
        prefetch: int = 0,
        no_ack: bool = False,
        tag: str = "",
        channel: int = 1,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        if prefetch:
            self.send(commands.Basic.Qos(prefetch_count=prefetch), channel)
            self.wait(commands.Basic.QosOk)
        method = commands.Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack, arguments=arguments)
        self.send(method, channel)
        self.wait(commands.Basic.ConsumeOk)

    def receive(self, seconds: float = TIMEOUT_SECONDS) -> Message:
        """The next message of the consumers. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self.messages:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no message")
            self.others.extend(self.read(left))
        return self.messages.popleft()

    def ack(self, delivery_tag: int, multiple: bool = False, channel: int = 1) -> None:
        self.send(commands.Basic.Ack(delivery_tag, multiple), channel)

    def close(self) -> None:
        """Close in order."""
        self.send(commands.Connection.Close(200, "bye", 0, 0), 0)
        self.wait(commands.Connection.CloseOk)
        self.sock.close()

    def drain(self, queue: str) -> list[Message]:
        """Everything that is ready in a queue, taken out of it."""
        count = self.count(queue)
        if not count:
            return []
        self.consume(queue, no_ack=True, tag=f"drain-{queue}")
        got = [self.receive() for _ in range(count)]
        self.send(commands.Basic.Cancel(f"drain-{queue}"))
        self.wait(commands.Basic.CancelOk)
        return got

    def echo(self, rounds: int = 1) -> None:
        """Publish, get and settle a message: proof that the broker does its work for this client."""
        if not self.echo_queue:
            self.send(commands.Queue.Declare(queue="", exclusive=True))
            self.echo_queue = str(self.wait(commands.Queue.DeclareOk).queue)
        for number in range(rounds):
            content = f"echo {number}".encode()
            self.publish(self.echo_queue, content, persistent=False)
            message = self.get(self.echo_queue)
            assert message is not None
            assert message.body == content
