"""A raw AMQP 0-9-1 client on a blocking socket, for asking a broker legal and illegal things.

Every expectation that fails raises AssertionError with what came instead. Times are seconds.
"""

import os
import re
import socket
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from .codec import (
    BODY,
    FRAME_END,
    HEADER,
    HEARTBEAT,
    METHOD,
    METHODS,
    PROTOCOL_HEADER,
    Method,
    Reader,
    decode_method,
    decode_properties,
    encode_arguments,
    encode_properties,
    frame,
    longstr,
    shortstr,
)
from .recording import Connection, begin

# How long an answer may take before it counts as missing, and how long a connection may stay open when it must end:
# much, for busy machines. RabbitMQ takes up to 3 seconds for that; where it is meant to differ, waiting is in vain.
PATIENCE, PATIENCE_CLOSE = (3.0, 5.0) if "CONFORMANCE_URL" in os.environ else (30.0, 30.0)
QUIET = 0.15  # how long a connection is watched when nothing may come

CODE_NAMES = {
    200: "Normal shutdown",
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}
# A text is compared whole; a pattern must be found in it; None leaves the explanation open.
Text = str | re.Pattern[str] | None


class Silence(AssertionError):
    """Nothing came in time."""


class Hangup(AssertionError):
    """The server closed or reset the TCP connection."""


@dataclass(frozen=True)
class Target:
    """Where the broker listens and who logs in."""

    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes

    def describe(self) -> str:
        if self.kind == METHOD:
            method, values = decode_method(self.payload)
            return f"{method.name} {values} on channel {self.channel}"
        return f"frame type {self.kind} of {len(self.payload)} octets on channel {self.channel}"


@dataclass(frozen=True)
class Message:
    """A content method with its content; ``frames`` are the sizes of its body frames."""

    method: dict[str, Any]
    raw_properties: bytes
    body: bytes
    frames: list[int] = field(default_factory=list)

    @property
    def properties(self) -> dict[str, Any]:
        return decode_properties(self.raw_properties)

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.get("headers", {}))

    @property
    def tag(self) -> int:
        return int(self.method["delivery_tag"])


class Client:
    """One TCP connection. ``witness`` is another client that must survive this one's errors."""

    def __init__(self, target: Target, witness: "Client | None" = None) -> None:
        self.target = target
        self.witness = witness
        self.frame_max = 131072
        self.sock = self._dial()
        self._received = bytearray()
        self._waiting: dict[int, deque[Frame]] = defaultdict(deque)
        self._last_channel = 0
        self.recording: Connection | None = begin(self._read_the_rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def _dial(self) -> socket.socket:
        sock = socket.create_connection((self.target.host, self.target.port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def reconnect(self) -> None:
        """Connect once more, after the server has hung up."""
        self.sock.close()
        self.sock = self._dial()
        self._received.clear()
        self._waiting.clear()
        self._last_channel = 0
        self.connect()

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self._read_the_rest()
        self.sock.close()

    def _read_the_rest(self) -> None:
        """End the recording with what the server has said and nobody asked for.

        That the server hung up is left out: without anybody waiting for it, it is chance whether it is seen.
        """
        recording, self.recording = self.recording, None
        if recording is None or self.sock.fileno() < 0:
            return
        for number in sorted(self._waiting):
            for came in self._waiting[number]:
                recording.received(came.kind, came.channel, came.payload)
        try:
            while True:
                came = self._next_from_wire(recording.settles_in())
                recording.received(came.kind, came.channel, came.payload)
        except (Silence, Hangup):
            return

    # The handshake, step by step.

    def connect(self, **steps: Any) -> Self:
        """The whole handshake; ``steps`` are the arguments of login, tune and open."""
        self.greet()
        login = {key: steps.pop(key) for key in list(steps) if key in LOGIN_STEPS}
        self.login(**login)
        vhost = steps.pop("vhost", None)
        self.tune(**steps)
        self.open(vhost)
        return self

    def greet(self, header: bytes = PROTOCOL_HEADER) -> dict[str, Any]:
        """Send the protocol header; returns the arguments of connection.start."""
        self.send_bytes(header)
        return self.expect("connection.start")

    def login(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        mechanism: str = "PLAIN",
        response: bytes | None = None,
        locale: str = "en_US",
        capabilities: Mapping[str, Any] | None = None,
        client_properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Send connection.start-ok; ``response`` None is the PLAIN one."""
        if response is None:
            response = f"\0{user or self.target.user}\0{password or self.target.password}".encode()
        properties: dict[str, Any] = {"product": "conformance"}
        properties["capabilities"] = dict(CAPABILITIES if capabilities is None else capabilities)
        properties.update(client_properties or {})
        self.send(
            "connection.start-ok",
            client_properties=properties,
            mechanism=mechanism,
            response=response,
            locale=locale,
        )

    def tune(
        self, *, channel_max: int | None = None, frame_max: int | None = None, heartbeat: int = 0
    ) -> dict[str, Any]:
        """Wait for connection.tune and answer it; None accepts the server's value."""
        offer = self.expect("connection.tune")
        answer = {
            "channel_max": offer["channel_max"] if channel_max is None else channel_max,
            "frame_max": offer["frame_max"] if frame_max is None else frame_max,
            "heartbeat": heartbeat,
        }
        self.frame_max = answer["frame_max"]
        self.send("connection.tune-ok", **answer)
        return offer

    def open(self, vhost: str | None = None) -> dict[str, Any]:
        """Send connection.open; returns the arguments of open-ok."""
        self.send("connection.open", virtual_host=self.target.vhost if vhost is None else vhost)
        return self.expect("connection.open-ok")

    def channel(self, number: int | None = None) -> "Channel":
        """Open a channel, by default the next number not used before."""
        if number is None:
            self._last_channel += 1
            number = self._last_channel
        channel = Channel(self, number)
        channel.send("channel.open")
        assert channel.expect("channel.open-ok") == {"channel_id": ""}
        return channel

    def close(self) -> None:
        """Close as a client does: connection.close, close-ok, end of the socket."""
        self.send("connection.close", reply_code=200, reply_text="bye")
        self.expect("connection.close-ok")
        self.sock.close()

    # Sending.

    def send_bytes(self, data: bytes) -> None:
        if self.recording is not None:
            self.recording.sent_octets(data)
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.sendall(data)
        except (ConnectionResetError, BrokenPipeError) as error:
            self._record_end()
            raise Hangup(f"the server hung up: {error}") from error

    def send_frame(self, kind: int, channel: int, payload: bytes, end: int = FRAME_END) -> None:
        if self.recording is not None:
            self.recording.sent(kind, channel, payload, end)
        self._transmit(frame(kind, channel, payload, end))

    def send(self, name: str, /, on: int = 0, **values: Any) -> None:
        """Send a method on channel number ``on``."""
        self.send_frame(METHOD, on, encode_arguments(METHODS[name], values))

    # Receiving.

    def read_frame(self, within: float = PATIENCE) -> Frame:
        """The next frame from the wire, whatever it is."""
        return self._record_frame(self._next_from_wire(within))

    def _record_frame(self, came: Frame) -> Frame:
        if self.recording is not None:
            self.recording.received(came.kind, came.channel, came.payload)
        return came

    def _record_end(self) -> None:
        if self.recording is not None:
            self.recording.ended()

    def _next_from_wire(self, within: float) -> Frame:
        deadline = time.monotonic() + within
        while True:
            taken = self._take_frame()
            if taken is not None:
                return taken
            self._read_more(deadline)

    def _take_frame(self) -> Frame | None:
        if len(self._received) < 7:
            return None
        reader = Reader(bytes(self._received[:7]))
        kind, channel, size = reader.unpack(">B"), reader.unpack(">H"), reader.unpack(">I")
        if len(self._received) < size + 8:
            return None
        payload = bytes(self._received[7 : size + 7])
        end = self._received[size + 7]
        assert end == FRAME_END, f"frame ends with {end}"
        del self._received[: size + 8]
        return Frame(kind, channel, payload)

    def _read_more(self, deadline: float) -> None:
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.sock.recv(262144)
        except TimeoutError as error:
            raise Silence("no complete frame came in time") from error
        except ConnectionResetError as error:
            self._record_end()
            raise Hangup("the server reset the connection") from error
        if not data:
            self._record_end()
            raise Hangup("the server closed the connection")
        self._received += data

    def next_frame(self, on: int, within: float = PATIENCE) -> Frame:
        """The next frame of one channel; frames of other channels are kept, heartbeats dropped."""
        deadline = time.monotonic() + within
        while not self._waiting[on]:
            came = self._next_from_wire(max(deadline - time.monotonic(), 0.001))
            if came.kind == HEARTBEAT:
                continue
            self._waiting[came.channel].append(came)
            if came.channel == 0 != on:
                raise AssertionError(f"waiting on channel {on}, got {came.describe()}")
        # It is recorded when it is asked for: how the frames of different channels came between each other is chance.
        return self._record_frame(self._waiting[on].popleft())

    def put_back(self, came: Frame) -> None:
        """Make a frame the next one of its channel again."""
        self._waiting[came.channel].appendleft(came)
        if self.recording is not None:
            self.recording.put_back()

    def expect(self, name: str, /, on: int = 0, within: float = PATIENCE) -> dict[str, Any]:
        """The arguments of the next frame of the channel, which must be this method."""
        came = self.next_frame(on, within)
        assert came.kind == METHOD, f"wanted {name}, got {came.describe()}"
        method, values = decode_method(came.payload)
        assert method.name == name, f"wanted {name}, got {came.describe()}"
        return values

    def expect_content(self, on: int) -> tuple[bytes, bytes, list[int]]:
        """Raw properties, body and body frame sizes of the content that must come next."""
        header = self.next_frame(on)
        assert header.kind == HEADER, f"wanted a content header, got {header.describe()}"
        reader = Reader(header.payload)
        class_id, weight, size = reader.unpack(">H"), reader.unpack(">H"), reader.unpack(">Q")
        assert (class_id, weight) == (60, 0)
        body, frames = b"", []
        while len(body) < size:
            part = self.next_frame(on)
            assert part.kind == BODY, f"wanted a body frame, got {part.describe()}"
            body += part.payload
            frames.append(len(part.payload))
        assert len(body) == size
        return reader.data[reader.at :], body, frames

    def expect_nothing(self, seconds: float = QUIET) -> None:
        """No frame but heartbeats on any channel for so long, and nothing left unread.

        The end of the connection is not nothing.
        """
        kept = [waiting.describe() for frames in self._waiting.values() for waiting in frames]
        assert not kept, f"wanted nothing, had {kept}"
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                came = self.read_frame(left)
            except Silence:
                return
            assert came.kind == HEARTBEAT, f"wanted nothing, got {came.describe()}"

    def expect_tcp_close(self, within: float = PATIENCE_CLOSE) -> float:
        """The server ends the TCP connection without a further frame; returns the seconds it took."""
        start = time.monotonic()
        try:
            came = self.read_frame(within)
            while came.kind == HEARTBEAT:
                came = self.read_frame(max(start + within - time.monotonic(), 0.001))
        except Hangup:
            assert not self._received, f"half a frame before the end: {bytes(self._received)!r}"
            return time.monotonic() - start
        except Silence as error:
            raise AssertionError(f"the connection is still open after {within} s") from error
        raise AssertionError(f"wanted the end of the connection, got {came.describe()}")

    def expect_raw(self, size: int, within: float = PATIENCE) -> bytes:
        """``size`` octets as they come, for what is not a frame."""
        deadline = time.monotonic() + within
        while len(self._received) < size:
            self._read_more(deadline)
        data = bytes(self._received[:size])
        del self._received[:size]
        if self.recording is not None:
            self.recording.received_octets(data)
        return data

    def expect_close(self, code: int, text: Text, method: str | tuple[int, int] | None = None) -> None:
        """connection.close with this code, explanation and culprit; answers it and sees the TCP end.

        ``method`` is a name or the two ids; None means 0/0. Deliveries already under way are passed over.
        The witness connection must still work afterwards.
        """
        check_close(self.expect_close_frame(), code, text, method)
        self.send("connection.close-ok")
        self.expect_tcp_close()
        if self.witness is not None:
            self.witness.check_alive()

    def expect_close_frame(self, within: float = PATIENCE) -> dict[str, Any]:
        """The arguments of connection.close, which need not be acknowledged."""
        return self.expect("connection.close", within=within)

    def check_alive(self) -> None:
        """A new channel can be opened, used and closed."""
        channel = self.channel()
        channel.call("basic.qos")
        channel.close()


LOGIN_STEPS = frozenset({"user", "password", "mechanism", "response", "locale", "capabilities", "client_properties"})


def method_ids(method: str | tuple[int, int] | None) -> tuple[int, int]:
    if method is None:
        return (0, 0)
    if isinstance(method, tuple):
        return method
    row: Method = METHODS[method]
    return (row.class_id, row.method_id)


def check_close(close: Mapping[str, Any], code: int, text: Text, method: str | tuple[int, int] | None) -> None:
    """Compare a channel.close or connection.close with what is wanted."""
    assert close["reply_code"] == code, close
    prefix = f"{CODE_NAMES[code]} - "
    if isinstance(text, str):
        assert close["reply_text"] == prefix + text
    else:
        assert close["reply_text"].startswith(prefix), close
        assert text is None or text.search(close["reply_text"]), f"{text.pattern} not in {close}"
    assert (close["class_id"], close["method_id"]) == method_ids(method), close


@dataclass(frozen=True)
class Channel:
    """A channel number of a client, with the same verbs."""

    client: Client
    number: int

    def send(self, name: str, /, **values: Any) -> None:
        self.client.send(name, on=self.number, **values)

    def send_frame(self, kind: int, payload: bytes) -> None:
        self.client.send_frame(kind, self.number, payload)

    def expect(self, name: str, /, within: float = PATIENCE) -> dict[str, Any]:
        return self.client.expect(name, on=self.number, within=within)

    def call(self, name: str, /, **values: Any) -> dict[str, Any]:
        """Send a method and return the arguments of its -ok."""
        self.send(name, **values)
        return self.expect(name + "-ok")

    def close(self) -> None:
        self.call("channel.close", reply_code=200, reply_text="bye")

    def publish(
        self,
        exchange: str = "",
        routing_key: str = "",
        body: bytes = b"",
        properties: Mapping[str, Any] | bytes = b"\0\0",
        **flags: bool,
    ) -> None:
        """Publish a whole message, its body cut to frame_max; ``flags`` are mandatory and immediate."""
        self.send("basic.publish", exchange=exchange, routing_key=routing_key, **flags)
        self.send_header(len(body), properties)
        size = self.client.frame_max - 8
        for at in range(0, len(body), size):
            self.send_frame(BODY, body[at : at + size])

    def send_header(self, size: int, properties: Mapping[str, Any] | bytes = b"\0\0", class_id: int = 60) -> None:
        """A content header that announces ``size`` octets of body."""
        head = class_id.to_bytes(2, "big") + b"\0\0" + size.to_bytes(8, "big")
        self.send_frame(HEADER, head + encode_properties(properties))

    def message(self, name: str = "basic.deliver") -> Message:
        """The content method that must come next, with its content."""
        return Message(self.expect(name), *self.client.expect_content(self.number))

    def bodies(self, count: int) -> list[bytes]:
        """The bodies of the next ``count`` deliveries."""
        return [self.message().body for _ in range(count)]

    def get(self, queue: str, *, no_ack: bool = True) -> Message | None:
        """basic.get; None for get-empty."""
        self.send("basic.get", queue=queue, no_ack=no_ack)
        came = self.client.next_frame(self.number)
        method, values = decode_method(came.payload)
        if method.name == "basic.get-empty":
            assert values == {"cluster_id": ""}
            return None
        assert method.name == "basic.get-ok", f"wanted basic.get-ok, got {came.describe()}"
        return Message(values, *self.client.expect_content(self.number))

    def drain(self, queue: str) -> list[bytes]:
        """The bodies of all ready messages, taken out with basic.get."""
        bodies = []
        while (message := self.get(queue)) is not None:
            bodies.append(message.body)
        return bodies

    def count(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers by passive declare."""
        ok = self.call("queue.declare", queue=queue, passive=True)
        return ok["message_count"], ok["consumer_count"]

    def expect_nothing(self, seconds: float = QUIET) -> None:
        self.client.expect_nothing(seconds)

    def expect_close(self, code: int, text: Text, method: str | tuple[int, int] | None) -> None:
        """channel.close with this code, explanation and culprit; answers it.

        The connection must go on: a new channel is opened and used.
        """
        check_close(self.expect("channel.close"), code, text, method)
        self.send("channel.close-ok")
        self.client.check_alive()

    def refused(self, code: int, text: Text, name: str, /, **values: Any) -> None:
        """Send a method that must close the channel."""
        self.send(name, **values)
        self.expect_close(code, text, name)

    def fatal(self, code: int, text: Text, name: str, /, **values: Any) -> None:
        """Send a method that must close the connection."""
        self.send(name, **values)
        self.client.expect_close(code, text, name)

    def publish_refused(self, code: int, text: Text, *args: Any, **values: Any) -> None:
        """Publish something that must close the channel."""
        self.publish(*args, **values)
        self.expect_close(code, text, "basic.publish")


def amqplain(user: str, password: str) -> bytes:
    """The AMQPLAIN response: a field table without its length."""
    return b"".join(shortstr(key) + b"S" + longstr(value) for key, value in (("LOGIN", user), ("PASSWORD", password)))


def at_vhost(target: Target, vhost: str) -> Target:
    return replace(target, vhost=vhost)
