"""Bytes on their way to one connection. Hot.

The outbox is a leaf: the core appends, the edge takes. When it goes from empty to not empty it puts itself on
the ``ready`` list, so that a turn visits only the connections it wrote to.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be
from mypy_extensions import i16, i32, i64

from amqpd.spec.constants import BASIC_ACK, BASIC_DELIVER, BASIC_NACK, FRAME_END

# A writer that once held more than this is given up after the flush, so that one large message does not leave
# its size behind on an idle connection.
WRITER_KEPT_MAX: Final = 1 << 16
# A peer that leaves this many times ``size_max`` unread is not heard until it has read most of it.
UNREAD_MARKS: Final = 4


def signed(number: i64) -> i16:
    """An unsigned 16-bit number as the signed one with the same octets: channel numbers go up to 65535."""
    return i16((number ^ 0x8000) - 0x8000)


@final
class Outbox:
    """``size``: octets waiting here and, as the edge reports them, in its hands (``unsent``).

    ``size_max``: above it consumers of this connection are skipped.
    ``largest``: octets of the largest body of several frames: one delivery may exceed ``size_max`` by that.
    """

    def __init__(self, ready: list[Outbox], size_max: i64) -> None:
        self.ready: list[Outbox] = ready
        self.writer: BytesWriter = BytesWriter()
        self.size_max: i64 = size_max
        self.largest: i64 = 0
        self.unsent: i64 = 0
        self.queued: bool = False
        self.flushes: i64 = 0
        self.frame_max: i64 = 131072
        self.link: object = None  # the edge's own handle

    def full(self) -> bool:
        return len(self.writer) + self.unsent > self.size_max

    def size(self) -> i64:
        return len(self.writer) + self.unsent

    def far_behind(self) -> bool:
        """The peer does not read, and goes on asking. Deliveries alone never get here: they stop at ``full``.

        A client may write all of a large message before it reads on, so it must be heard however large the one
        that waits for it is.
        """
        return len(self.writer) + self.unsent > UNREAD_MARKS * self.size_max + self.largest

    def write(self, data: bytes) -> None:
        if not self.queued:
            self.queued = True
            self.ready.append(self)
        self.writer.write(data)

    def touch(self) -> None:
        """Have the edge visit this connection after the turn, with nothing to write."""
        if not self.queued:
            self.queued = True
            self.ready.append(self)

    def take(self) -> bytes:
        """Everything written so far; the outbox is empty afterwards."""
        self.queued = False
        data = self.writer.getvalue()
        if data:
            self.flushes += 1
        if len(data) > WRITER_KEPT_MAX:
            self.writer = BytesWriter()
        else:
            self.writer.truncate(0)
        return data

    def deliver(
        self,
        channel: i64,
        consumer_tag: bytes,
        delivery_tag: i64,
        redelivered: bool,
        address: bytes,
        header: bytes,
        body: bytes,
    ) -> None:
        """basic.deliver with its content (spec 1.8.3.13).

        ``consumer_tag`` and ``address`` are encoded: the tag's shortstr; exchange and routing key shortstrs.
        """
        if not self.queued:
            self.queued = True
            self.ready.append(self)
        writer = self.writer
        writer.append(1)
        write_i16_be(writer, signed(channel))
        write_i32_be(writer, i32(len(consumer_tag) + len(address) + 13))
        write_i32_be(writer, i32(BASIC_DELIVER))
        writer.write(consumer_tag)
        write_i64_be(writer, delivery_tag)
        writer.append(1 if redelivered else 0)
        writer.write(address)
        writer.append(FRAME_END)
        self.content(channel, header, body)

    def content(self, channel: i64, header: bytes, body: bytes) -> None:
        """Header frame and body frames, split to the negotiated frame size; no body frame for an empty body."""
        writer = self.writer
        writer.append(2)
        write_i16_be(writer, signed(channel))
        write_i32_be(writer, i32(len(header)))
        writer.write(header)
        writer.append(FRAME_END)
        size: i64 = len(body)
        if size == 0:
            return
        piece_max: i64 = self.frame_max - 8
        if size <= piece_max:
            writer.append(3)
            write_i16_be(writer, signed(channel))
            write_i32_be(writer, i32(size))
            writer.write(body)
            writer.append(FRAME_END)
            return
        if size > self.largest:
            self.largest = size
        at: i64 = 0
        while at < size:
            piece = body[at : at + piece_max]
            at += piece_max
            writer.append(3)
            write_i16_be(writer, signed(channel))
            write_i32_be(writer, i32(len(piece)))
            writer.write(piece)
            writer.append(FRAME_END)

    def ack(self, channel: i64, delivery_tag: i64, multiple: bool) -> None:
        """basic.ack to a publisher (spec 1.8.3.16)."""
        self._settlement(channel, BASIC_ACK, delivery_tag, 1 if multiple else 0)

    def nack(self, channel: i64, delivery_tag: i64, multiple: bool) -> None:
        """basic.nack to a publisher; RabbitMQ sets the requeue bit (2) too, for what it is worth there."""
        self._settlement(channel, BASIC_NACK, delivery_tag, 3 if multiple else 2)

    def _settlement(self, channel: i64, method: i64, delivery_tag: i64, bits: i64) -> None:
        if not self.queued:
            self.queued = True
            self.ready.append(self)
        writer = self.writer
        writer.append(1)
        write_i16_be(writer, signed(channel))
        write_i32_be(writer, 13)
        write_i32_be(writer, i32(method))
        write_i64_be(writer, delivery_tag)
        writer.append(int(bits))
        writer.append(FRAME_END)
