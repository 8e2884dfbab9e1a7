"""Clients of the delayed benchmark: a publisher that reads its confirms, and a consumer that reads the clock.

A body begins with the time it is due, in milliseconds since 1970, as text. Broker and clients share one clock. What a
message may come early by is the part of a millisecond that the broker's clock leaves out.
"""

from __future__ import annotations

import multiprocessing
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as PipeConnection
from multiprocessing.synchronize import Event

from bench.harness.client import (
    FRAME_METHOD,
    RECEIVE_BYTES,
    Address,
    ClientError,
    Connection,
    long_string,
    method_frame,
    raise_if_close,
    short_string,
)

EXCHANGE, QUEUE, PLAIN = "bench.delayed", "bench.due", "bench.plain"
BODY_BYTES = 200
DUE_BYTES = 17  # 13 digits, a point, three digits
EARLY_MS = 1.0
# Unconfirmed messages of a publisher at most.
WINDOW = 5_000
SILENCE_S = 60.0

ACK, NACK, DELIVER = (60, 80), (60, 120), (60, 60)
CONFIRM_SELECT_OK, CONSUME_OK, EXCHANGE_DECLARE_OK, QUEUE_BIND_OK = (85, 11), (60, 21), (40, 11), (50, 21)
FRAME_BODY = 3


def prepare(address: Address) -> None:
    """Declare the delayed exchange and the two queues."""
    kind = b"\x0ex-delayed-typeS" + long_string(b"direct")
    with Connection(address) as connection:
        arguments = b"\0\0" + short_string(EXCHANGE) + short_string("x-delayed-message") + b"\x02" + long_string(kind)
        connection.socket.sendall(method_frame(1, 40, 10, arguments))
        connection.wait_method(EXCHANGE_DECLARE_OK)
        connection.declare(QUEUE)
        connection.declare(PLAIN)
        names = short_string(QUEUE) + short_string(EXCHANGE) + short_string("k")
        connection.socket.sendall(method_frame(1, 50, 20, b"\0\0" + names + b"\0" + long_string(b"")))
        connection.wait_method(QUEUE_BIND_OK)


def publication(exchange: str, key: str) -> bytes:
    return method_frame(1, 60, 40, b"\0\0" + short_string(exchange) + short_string(key) + b"\0")


TO_DELAYED = publication(EXCHANGE, "k")
TO_PLAIN = publication("", PLAIN)


def delayed(delay_ms: int, now_ms: float) -> bytes:
    """A publish that is due ``delay_ms`` after ``now_ms``."""
    table = b"\x07x-delayl" + struct.pack(">q", delay_ms)
    body = (b"%.3f" % (now_ms + delay_ms)).ljust(BODY_BYTES, b".")
    return TO_DELAYED + _content(b"\x30\x00" + long_string(table) + b"\x02", body)


def plain() -> bytes:
    return TO_PLAIN + _content(b"\x10\x00\x02", b"." * BODY_BYTES)


def _content(properties: bytes, body: bytes) -> bytes:
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    return b"".join(
        (
            struct.pack(">BHI", 2, 1, len(header)),
            header,
            b"\xce",
            struct.pack(">BHI", FRAME_BODY, 1, len(body)),
            body,
            b"\xce",
        )
    )


def read_frames(connection: Connection, handle: Callable[[int, bytes], bool]) -> None:
    """Hand every frame (type, payload) to ``handle`` until it says that it is enough."""
    buffer = bytearray(connection.received)
    while True:
        at = 0
        while len(buffer) - at >= 7:
            size = int.from_bytes(buffer[at + 3 : at + 7])
            if len(buffer) - at < size + 8:
                break
            kind, payload = buffer[at], bytes(buffer[at + 7 : at + 7 + size])
            at += size + 8
            if kind == FRAME_METHOD:
                raise_if_close((int.from_bytes(payload[:2]), int.from_bytes(payload[2:4])), payload[4:])
            if handle(kind, payload):
                connection.received = bytes(buffer[at:])
                return
        del buffer[:at]
        data = connection.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ClientError("connection dropped by the broker")
        buffer += data


class Publisher:
    """Publishes with confirms; ``latencies_ms`` are those of the messages whose time was kept (``timed``)."""

    def __init__(self, address: Address) -> None:
        self.connection = Connection(address)
        self.connection.socket.sendall(method_frame(1, 85, 10, b"\0"))
        self.connection.wait_method(CONFIRM_SELECT_OK)
        self.connection.socket.settimeout(SILENCE_S)
        self.sent = self.confirmed = self.refused = 0
        self.sent_at: dict[int, float] = {}
        self.latencies_ms: list[float] = []
        self.failure: Exception | None = None
        self._changed = threading.Condition()
        self._total = 0

    def run(self, count: int, make: Callable[[], bytes], rate: float = 0.0, timed: bool = False) -> float:
        """Publish ``count`` messages, ``rate`` a second (0: as fast as they are confirmed). Returns the seconds."""
        began = time.monotonic()
        self._total = self.sent + count
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        step = max(1, min(100, round(rate / 200))) if rate else 100
        for first in range(0, count, step):
            burst = [make() for _ in range(min(step, count - first))]
            with self._changed:
                while self.sent - self.confirmed > WINDOW and self.failure is None:
                    self._changed.wait(1.0)
                now = time.monotonic()
                for number in range(self.sent + 1, self.sent + len(burst) + 1):
                    if timed:
                        self.sent_at[number] = now
                self.sent += len(burst)
            self.connection.socket.sendall(b"".join(burst))
            if rate:
                ahead = began + (first + len(burst)) / rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
        reader.join()
        if self.failure is not None:
            raise self.failure
        return time.monotonic() - began

    def _read(self) -> None:
        try:
            read_frames(self.connection, self._handle)
        except (ClientError, OSError) as error:
            self.failure = error

    def _handle(self, kind: int, payload: bytes) -> bool:
        method = (int.from_bytes(payload[:2]), int.from_bytes(payload[2:4]))
        if method in (ACK, NACK):
            tag = int.from_bytes(payload[4:12])
            now = time.monotonic()
            with self._changed:
                first = self.confirmed + 1 if payload[12] & 1 else tag
                for number in range(first, tag + 1):
                    sent = self.sent_at.pop(number, None)
                    if sent is not None:
                        self.latencies_ms.append((now - sent) * 1000)
                self.refused += method == NACK
                self.confirmed = tag  # amqpd confirms in order
                self._changed.notify()
        return self.confirmed >= self._total

    def close(self) -> None:
        self.connection.close()


@dataclass
class Arrivals:
    """``late_ms``: by how much each message came late; below 0 is early. ``seconds``: from the first to the last."""

    late_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    early: int = 0
    failure: Exception | None = None


class Consumer:
    """Takes ``count`` messages in a thread, without acknowledging."""

    def __init__(self, address: Address, count: int) -> None:
        self.arrivals = Arrivals()
        self._count = count
        self._connection = Connection(address)
        self._connection.socket.settimeout(SILENCE_S)
        arguments = b"\0\0" + short_string(QUEUE) + short_string("due") + b"\x02" + long_string(b"")
        self._connection.socket.sendall(method_frame(1, 60, 20, arguments))
        self._connection.wait_method(CONSUME_OK)
        self._first = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> Arrivals:
        """Everything that came; raises what went wrong."""
        self._thread.join()
        self._connection.close()
        if self.arrivals.failure is not None:
            raise self.arrivals.failure
        return self.arrivals

    def _run(self) -> None:
        try:
            read_frames(self._connection, self._handle)
        except (ClientError, OSError) as error:
            self.arrivals.failure = error

    def _handle(self, kind: int, payload: bytes) -> bool:
        if kind != FRAME_BODY:
            return False
        arrivals = self.arrivals
        now = time.time()
        late = now * 1000 - float(payload[:DUE_BYTES])
        self._first = self._first or now
        arrivals.late_ms.append(late)
        arrivals.early += late < -EARLY_MS
        arrivals.seconds = now - self._first
        return len(arrivals.late_ms) >= self._count


class Beside:
    """A plain publisher in a process of its own, so that what it measures is the broker's time and not this one's."""

    def __init__(self, address: Address, rate: float) -> None:
        context = multiprocessing.get_context("fork")
        self._stop = context.Event()
        self._answer, answer = context.Pipe(duplex=False)
        self._process = context.Process(target=_beside, args=(address, rate, self._stop, answer), daemon=True)
        self._process.start()

    def stop(self) -> list[float]:
        """Milliseconds from publish to confirm, of each message."""
        self._stop.set()
        latencies_ms: list[float] = self._answer.recv()
        self._process.join()
        return latencies_ms


def _beside(address: Address, rate: float, stop: Event, answer: PipeConnection) -> None:
    publisher = Publisher(address)
    while not stop.is_set():
        publisher.run(max(1, round(rate / 5)), plain, rate, timed=True)
    publisher.close()
    answer.send(publisher.latencies_ms)


def percentile(values: list[float], share: float) -> float | None:
    """The value that ``share`` of all are not above; None for none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
