"""A consumer that empties one queue of amqpbench's messages and checks every octet, the order and the count.

amqpbench can check order only in the run that published, and the backlog is drained after a restart. The
deliveries of such a queue differ only in delivery tag, sequence number and timestamp, so they are checked by
these rules, at about a microsecond a message:

1. The first delivery is read frame by frame. Its octets, but for those three fields, become the form.
2. A delivery of the same form whose tag and sequence number are the next ones is right. Whole runs of such
   deliveries are cut from the received octets at once.
3. At the first that differs, one delivery is read frame by frame and judged, then rule 2 goes on.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field

from bench.harness.client import (
    FRAME_END,
    RECEIVE_BYTES,
    Address,
    ClientError,
    Connection,
    raise_if_close,
    short_string,
)

CONSUMER_TAG = "drain"
DELIVER = (60, 60)
CANCEL = (60, 30)
FRAME_HEADER, FRAME_BODY, FRAME_METHOD = 2, 3, 1
SILENCE_LIMIT_S = 30.0
STRAY_WAIT_S = 0.5
BODY_MIN = 16


def pattern(size_bytes: int) -> bytes:
    """Return the body octets as amqpbench writes them (the first 16 are overwritten for each message)."""
    return bytes((i * 131 + (i >> 8) * 7 + 13) & 0xFF for i in range(size_bytes))


@dataclass
class Tally:
    """What came. Sequence numbers run from 0; ``missing`` are those skipped and not seen since."""

    expected: int
    received: int = 0
    next_sequence: int = 0
    duplicate: int = 0
    reordered: int = 0
    redelivered: int = 0
    corrupt: int = 0
    foreign: int = 0
    missing: set[int] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """How many never came."""
        return len(self.missing) + max(0, self.expected - self.next_sequence)

    @property
    def exact(self) -> bool:
        """Whether every message came once, in order, unchanged, and nothing else did."""
        wrong = (self.lost, self.duplicate, self.reordered, self.redelivered, self.corrupt, self.foreign)
        return not any(wrong) and self.received == self.expected

    def judge(self, sequence: int) -> None:
        """Count the message ``sequence``."""
        self.received += 1
        if sequence >= self.expected:
            self.foreign += 1
        elif sequence >= self.next_sequence:
            self.missing.update(range(self.next_sequence, sequence))
            self.next_sequence = sequence + 1
        elif sequence in self.missing:
            self.missing.remove(sequence)
            self.reordered += 1
        else:
            self.duplicate += 1

    def faults(self) -> str:
        """Name what is wrong, empty when nothing is."""
        names = ("lost", "duplicate", "reordered", "redelivered", "corrupt", "foreign")
        return ", ".join(f"{name} {getattr(self, name)}" for name in names if getattr(self, name))


@dataclass(frozen=True)
class Form:
    """The constant octets of a delivery: before the tag, between tag and body, after the timestamp."""

    head: bytes
    middle: bytes
    tail: bytes
    layout: struct.Struct


class Drain:
    """Empties ``queue``, which holds ``count`` messages of ``size_bytes`` by one producer."""

    def __init__(self, address: Address, queue: str, count: int, size_bytes: int) -> None:
        if size_bytes < BODY_MIN:
            raise ValueError(f"bodies below {BODY_MIN} octets carry no sequence number and timestamp")
        self.tally = Tally(count)
        self._address = address
        self._queue = queue
        self._pattern = pattern(size_bytes)[BODY_MIN:]
        self._buffer = bytearray()
        self._form: Form | None = None
        self._tag = 0

    def run(self, prefetch_count: int, ack_every: int) -> Tally:
        """Consume until all came, and a moment longer for strays; acknowledges everything it got.

        Ends early, with messages lost, after 30 s of silence. Acks go out after each receive that brought the
        unacknowledged to ``ack_every``. Raises ClientError when the broker closes or cancels.
        """
        with Connection(self._address) as connection:
            began = time.monotonic()
            connection.consume(self._queue, CONSUMER_TAG, prefetch_count)
            early, connection.received = connection.received, b""
            self.receive_data(early)
            connection.socket.settimeout(SILENCE_LIMIT_S)
            acked = self._receive_all(connection, ack_every)
            self.tally.seconds = time.monotonic() - began
            if self._tag > acked:
                connection.ack_multiple(self._tag)
            connection.socket.settimeout(STRAY_WAIT_S)
            acked = self._tag
            self._receive(connection)
            if self._tag > acked:
                connection.ack_multiple(self._tag)
            connection.socket.settimeout(SILENCE_LIMIT_S)
        return self.tally

    def _receive_all(self, connection: Connection, ack_every: int) -> int:
        acked = 0
        while self.tally.received < self.tally.expected:
            if not self._receive(connection):
                break
            if self._tag - acked >= ack_every:
                acked = self._tag
                connection.ack_multiple(acked)
        return acked

    def _receive(self, connection: Connection) -> bool:
        try:
            data = connection.socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            return False
        if not data:
            raise ClientError("connection dropped by the broker during the drain")
        self.receive_data(data)
        return True

    def receive_data(self, data: bytes) -> None:
        """Take octets as they come off the socket and judge every delivery that is complete."""
        self._buffer += data
        self._parse()

    def _parse(self) -> None:
        at = self._parse_run(0)
        while (end := self._parse_one(at)) > at:
            at = self._parse_run(end)
        del self._buffer[:at]

    def _parse_run(self, at: int) -> int:
        """Take the run of right deliveries at ``at`` (rule 2); returns where it ends."""
        form = self._form
        if form is None:
            return at
        stride = form.layout.size
        whole = (len(self._buffer) - at) // stride
        first = sequence = self.tally.next_sequence
        tag, limit = self._tag, self.tally.expected
        head, middle, tail = form.head, form.middle, form.tail
        with memoryview(self._buffer)[at : at + whole * stride] as run:
            for its_head, its_tag, its_middle, its_sequence, its_tail in form.layout.iter_unpack(run):
                if its_tag != tag + 1 or its_sequence != sequence or its_tail != tail:
                    break
                if its_head != head or its_middle != middle or sequence >= limit:
                    break
                tag += 1
                sequence += 1
        self._tag = tag
        self.tally.received += sequence - first
        self.tally.next_sequence = sequence
        return at + (sequence - first) * stride

    def _parse_one(self, at: int) -> int:
        """Judge the delivery at ``at`` (rule 3) or drop another frame; returns its end, ``at`` if cut off."""
        frame = self._frame(at)
        if frame is None:
            return at
        kind, payload, end = frame
        if kind != FRAME_METHOD:
            return end
        method = (int.from_bytes(payload[:2]), int.from_bytes(payload[2:4]))
        raise_if_close(method, payload[4:])
        if method == CANCEL:
            raise ClientError("consumer cancelled by the broker")
        return self._parse_delivery(at, payload, end) if method == DELIVER else end

    def _parse_delivery(self, at: int, deliver: bytes, end: int) -> int:
        header = self._frame(end)
        if header is None:
            return at
        _kind, payload, body_at = header
        size = int.from_bytes(payload[4:12])
        body, end = bytearray(), body_at
        while len(body) < size:
            frame = self._frame(end)
            if frame is None:
                return at
            body += frame[1]
            end = frame[2]
        tag_at = 4 + len(short_string(CONSUMER_TAG))
        self._tag = int.from_bytes(deliver[tag_at : tag_at + 8])
        self.tally.redelivered += deliver[tag_at + 8] & 1
        if size != BODY_MIN + len(self._pattern) or body[BODY_MIN:] != self._pattern:
            self.tally.received += 1
            self.tally.corrupt += 1
            return end
        self.tally.judge(int.from_bytes(body[:8]))
        self._keep_form(at, at + 7 + tag_at, body_at, end, deliver[tag_at + 8] & 1)
        return end

    def _keep_form(self, at: int, tag_at: int, body_at: int, end: int, redelivered: int) -> None:
        """Keep the form of the delivery ``at``..``end`` (rule 1) unless there is one or its body is split."""
        one_body_frame = end - body_at == 7 + BODY_MIN + len(self._pattern) + 1
        if self._form is not None or redelivered or not one_body_frame:
            return
        raw = bytes(self._buffer[at:end])
        tag, body = tag_at - at, body_at + 7 - at
        head, middle, tail = raw[:tag], raw[tag + 8 : body], raw[body + BODY_MIN :]
        layout = struct.Struct(f">{len(head)}sQ{len(middle)}sQ8x{len(tail)}s")
        self._form = Form(head, middle, tail, layout)

    def _frame(self, at: int) -> tuple[int, bytes, int] | None:
        """Return kind, payload and end of the frame at ``at``; None when it is not complete yet."""
        buffer = self._buffer
        if len(buffer) - at < 8:
            return None
        size = int.from_bytes(buffer[at + 3 : at + 7])
        end = at + 8 + size
        if len(buffer) < end:
            return None
        if buffer[end - 1] != FRAME_END:
            raise ClientError("frame without its end octet")
        return buffer[at], bytes(buffer[at + 7 : end - 1]), end
