"""A small blocking AMQP 0-9-1 client: just what the scripts need beside the load generator.

It holds idle connections open, declares queues many at a time and asks for a queue's count. It is not a
general client: one channel (number 1), no publishing, and any close sent by the broker is an error.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

FRAME_METHOD = 1
FRAME_END = 0xCE
FRAME_MAX = 131072
RECEIVE_BYTES = 262144
TIMEOUT_S = 60.0

CONNECTION_START, CONNECTION_TUNE, CONNECTION_OPEN_OK = (10, 10), (10, 30), (10, 41)
CONNECTION_CLOSE, CONNECTION_CLOSE_OK, CHANNEL_CLOSE = (10, 50), (10, 51), (20, 40)
CHANNEL_OPEN_OK, EXCHANGE_DELETE_OK, QUEUE_DECLARE_OK, QUEUE_DELETE_OK = (
    (20, 11),
    (40, 21),
    (50, 11),
    (50, 41),
)
BASIC_QOS_OK, BASIC_CONSUME_OK = (60, 11), (60, 21)

PASSIVE, DURABLE = 1, 2


class ClientError(Exception):
    """The broker closed the connection or the channel, or answered something unexpected."""


@dataclass(frozen=True)
class Address:
    """Where a broker listens and as whom to log in."""

    host: str = "127.0.0.1"
    port: int = 5672
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Read ``amqp://user:password@host:port/vhost``; what is missing has RabbitMQ's default.

        Raises ValueError when it is not an ``amqp`` URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "amqp":
            raise ValueError(f"not an amqp:// URL: {url}")
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 5672,
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
        )


def short_string(text: str) -> bytes:
    """Encode a short string: one length octet and the bytes."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def long_string(raw: bytes) -> bytes:
    """Encode a long string or a table: four length octets and the bytes."""
    return struct.pack(">I", len(raw)) + raw


def method_frame(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """Encode one method frame."""
    return struct.pack(">BHIHH", FRAME_METHOD, channel, 4 + len(arguments), class_id, method_id) + arguments + b"\xce"


def queue_delete_frame(queue: str) -> bytes:
    """Encode queue.delete on channel 1, in use or not, empty or not."""
    return method_frame(1, 50, 40, b"\0\0" + short_string(queue) + b"\0")


def declare_frame(queue: str, bits: int) -> bytes:
    """Encode queue.declare without arguments on channel 1."""
    return method_frame(1, 50, 10, b"\0\0" + short_string(queue) + bytes((bits,)) + long_string(b""))


class Connection:
    """One open connection with channel 1 open on it. Heartbeats are off, so an idle one stays silent."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.version = ""
        try:
            self._open(address)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open(self, address: Address) -> None:
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        start = self.wait_method(CONNECTION_START)
        found = re.search(rb"\x07versionS\0\0\0(.)", start, re.DOTALL)
        if found:
            self.version = start[found.end() : found.end() + found[1][0]].decode(errors="replace")
        properties = short_string("product") + b"S" + long_string(b"amqpd bench")
        secret = b"\0" + address.user.encode() + b"\0" + address.password.encode()
        start_ok = long_string(properties) + short_string("PLAIN") + long_string(secret) + short_string("en_US")
        self.socket.sendall(method_frame(0, 10, 11, start_ok))
        channel_max, frame_max, _heartbeat = struct.unpack(">HIH", self.wait_method(CONNECTION_TUNE)[:8])
        tune_ok = struct.pack(">HIH", channel_max, min(frame_max, FRAME_MAX) or FRAME_MAX, 0)
        open_ = short_string(address.vhost) + b"\0\0"
        self.socket.sendall(method_frame(0, 10, 31, tune_ok) + method_frame(0, 10, 40, open_))
        self.wait_method(CONNECTION_OPEN_OK)
        self.socket.sendall(method_frame(1, 20, 10, b"\0"))
        self.wait_method(CHANNEL_OPEN_OK)

    def close(self) -> None:
        """Close politely; a broker that is already gone is fine."""
        try:
            self.socket.sendall(method_frame(0, 10, 50, struct.pack(">H", 200) + short_string("bye") + b"\0\0\0\0"))
            self.wait_method(CONNECTION_CLOSE_OK)
        except (OSError, ClientError):
            pass
        finally:
            self.socket.close()

    def declare(self, queue: str, bits: int = DURABLE) -> int:
        """Declare one queue; returns its message count."""
        self.socket.sendall(declare_frame(queue, bits))
        answer = self.wait_method(QUEUE_DECLARE_OK)
        return int(struct.unpack_from(">I", answer, 1 + answer[0])[0])

    def declare_many(self, queues: Sequence[str], in_flight: int = 100) -> None:
        """Declare durable queues, sending up to ``in_flight`` requests before their answers are read."""
        self._ask_many([declare_frame(queue, DURABLE) for queue in queues], QUEUE_DECLARE_OK, in_flight)

    def delete_many(self, queues: Sequence[str], in_flight: int = 100) -> None:
        """Delete queues, in use or not, empty or not."""
        self._ask_many([queue_delete_frame(queue) for queue in queues], QUEUE_DELETE_OK, in_flight)

    def delete_exchange(self, exchange: str) -> None:
        """Delete an exchange, used or not."""
        self.socket.sendall(method_frame(1, 40, 20, b"\0\0" + short_string(exchange) + b"\0"))
        self.wait_method(EXCHANGE_DELETE_OK)

    def _ask_many(self, frames: Sequence[bytes], answer: tuple[int, int], in_flight: int) -> None:
        for first in range(0, len(frames), in_flight):
            burst = frames[first : first + in_flight]
            self.socket.sendall(b"".join(burst))
            for _ in burst:
                self.wait_method(answer)

    def consume(self, queue: str, consumer_tag: str, prefetch_count: int) -> None:
        """Set the prefetch and start a consumer that must acknowledge."""
        self.socket.sendall(method_frame(1, 60, 10, struct.pack(">IHB", 0, prefetch_count, 0)))
        self.wait_method(BASIC_QOS_OK)
        arguments = b"\0\0" + short_string(queue) + short_string(consumer_tag) + b"\0" + long_string(b"")
        self.socket.sendall(method_frame(1, 60, 20, arguments))
        self.wait_method(BASIC_CONSUME_OK)

    def ack_multiple(self, delivery_tag: int) -> None:
        """Acknowledge everything up to ``delivery_tag``."""
        self.socket.sendall(method_frame(1, 60, 80, struct.pack(">QB", delivery_tag, 1)))

    def wait_method(self, wanted: tuple[int, int]) -> bytes:
        """Wait for the method ``wanted`` and return its arguments; other frames before it are dropped.

        Raises ClientError when the broker closes instead, TimeoutError after 60 s of silence.
        """
        while True:
            kind, payload = self._wait_frame()
            if kind != FRAME_METHOD:
                continue
            method = (int.from_bytes(payload[:2]), int.from_bytes(payload[2:4]))
            if method == wanted:
                return payload[4:]
            raise_if_close(method, payload[4:])

    def _wait_frame(self) -> tuple[int, bytes]:
        while True:
            if len(self.received) >= 7:
                size = int.from_bytes(self.received[3:7])
                if len(self.received) >= size + 8:
                    kind, payload = self.received[0], self.received[7 : 7 + size]
                    if self.received[7 + size] != FRAME_END:
                        raise ClientError("frame without its end octet")
                    self.received = self.received[size + 8 :]
                    return kind, payload
            data = self.socket.recv(RECEIVE_BYTES)
            if not data:
                raise ClientError("connection dropped by the broker")
            self.received += data


def raise_if_close(method: tuple[int, int], arguments: bytes) -> None:
    """Raise ClientError with the broker's text when ``method`` closes the connection or the channel."""
    if method in (CONNECTION_CLOSE, CHANNEL_CLOSE):
        code = int.from_bytes(arguments[:2])
        text = arguments[3 : 3 + arguments[2]].decode(errors="replace")
        raise ClientError(f"closed by the broker: {code} {text}")
