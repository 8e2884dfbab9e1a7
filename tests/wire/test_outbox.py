"""The outbox: what it writes reads back as frames, split to the frame size, on every channel number."""

from __future__ import annotations

import pamqp.commands
import pamqp.frame
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.wire.basic import address
from amqpd.wire.content import header_from_properties
from amqpd.wire.frames import FrameReader
from amqpd.wire.outbox import WRITER_KEPT_MAX, Outbox, signed
from tests.wire.test_frames import Frame, take_all

CHANNELS = st.integers(0, 65535)
TAGS = st.integers(0, (1 << 63) - 1)


def make(frame_max: int = 131072, size_max: int = 1 << 20) -> tuple[Outbox, list[Outbox]]:
    ready: list[Outbox] = []
    outbox = Outbox(ready, size_max)
    outbox.frame_max = frame_max
    return outbox, ready


def frames_of(outbox: Outbox) -> list[Frame]:
    reader = FrameReader(outbox.frame_max - 8)
    reader.feed(outbox.take())
    taken = take_all(reader)
    assert reader.pending() == 0
    return taken


def method_in(frame: Frame) -> pamqp.commands.Basic.Deliver:
    _, channel, read = pamqp.frame.unmarshal(frame.octets())
    assert channel == frame.channel
    return read  # type: ignore[return-value]


@given(CHANNELS)
def test_signed_keeps_the_octets(number: int) -> None:
    assert int(signed(number)).to_bytes(2, signed=True) == number.to_bytes(2)


@given(CHANNELS, TAGS, st.booleans(), st.binary(max_size=200))
def test_a_delivery_reads_back(channel: int, tag: int, redelivered: bool, body: bytes) -> None:
    outbox, _ = make()
    header = header_from_properties(b"\x10\x00\x02", len(body)).payload
    outbox.deliver(channel, b"\x03tag", tag, redelivered, address("ex", "key"), header, body)
    frames = frames_of(outbox)
    read = method_in(frames[0])
    assert (read.consumer_tag, read.delivery_tag, read.redelivered) == ("tag", tag, redelivered)
    assert (read.exchange, read.routing_key) == ("ex", "key")
    assert frames[1] == Frame(2, channel, header)
    assert frames[2:] == ([Frame(3, channel, body)] if body else [])


@pytest.mark.parametrize("extra", [-1, 0, 1, 4088, 4089, 3 * 4088 + 5])
def test_a_body_is_split_to_the_frame_size(extra: int) -> None:
    frame_max = 4096
    outbox, _ = make(frame_max)
    body = bytes(octet % 251 for octet in range(frame_max - 8 + extra))
    header = header_from_properties(b"\0\0", len(body)).payload
    outbox.content(9, header, body)
    head, *pieces = frames_of(outbox)
    assert head == Frame(2, 9, header)
    assert {(piece.kind, piece.channel) for piece in pieces} == {(3, 9)}
    assert b"".join(piece.payload for piece in pieces) == body
    assert [len(piece.payload) for piece in pieces[:-1]] == [frame_max - 8] * (len(pieces) - 1)
    assert 0 < len(pieces[-1].payload) <= frame_max - 8


def test_an_empty_body_has_no_frame() -> None:
    outbox, _ = make()
    outbox.content(1, header_from_properties(b"\0\0", 0).payload, b"")
    assert [frame.kind for frame in frames_of(outbox)] == [2]


@given(st.lists(st.tuples(CHANNELS, st.binary(max_size=9000)), max_size=8))
def test_many_contents_lie_one_behind_the_other(contents: list[tuple[int, bytes]]) -> None:
    outbox, _ = make(4096)
    for channel, body in contents:
        outbox.content(channel, header_from_properties(b"\0\0", len(body)).payload, body)
    bodies: list[tuple[int, bytes]] = []
    for frame in frames_of(outbox):
        if frame.kind == 2:
            bodies.append((frame.channel, b""))
        else:
            channel, body = bodies[-1]
            assert frame.channel == channel
            bodies[-1] = (channel, body + frame.payload)
    assert bodies == contents


@given(CHANNELS, TAGS, st.booleans())
def test_settlements_read_back(channel: int, tag: int, multiple: bool) -> None:
    outbox, _ = make()
    outbox.ack(channel, tag, multiple)
    outbox.nack(channel, tag, multiple)
    ack, nack = map(method_in, frames_of(outbox))
    assert isinstance(ack, pamqp.commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (tag, multiple)
    assert isinstance(nack, pamqp.commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (tag, multiple, True)


def test_it_reports_itself_ready_once_for_each_flush() -> None:
    outbox, ready = make()
    outbox.write(b"a")
    outbox.ack(1, 1, False)
    outbox.touch()
    assert ready == [outbox]
    outbox.take()
    ready.clear()
    outbox.deliver(1, b"\0", 1, False, b"\0\0", header_from_properties(b"\0\0", 0).payload, b"")
    outbox.nack(1, 1, False)
    assert ready == [outbox]


def test_a_touch_is_no_flush() -> None:
    outbox, ready = make()
    outbox.touch()
    assert ready == [outbox]
    assert outbox.take() == b""
    assert outbox.flushes == 0
    outbox.write(b"abc")
    assert outbox.take() == b"abc"
    assert outbox.take() == b""
    assert outbox.flushes == 1


def test_it_is_full_above_its_mark_with_what_the_edge_holds() -> None:
    outbox, _ = make(size_max=100)
    outbox.write(bytes(100))
    assert not outbox.full()
    outbox.write(b"x")
    assert outbox.full()
    assert outbox.size() == 101
    outbox.take()
    assert (outbox.full(), outbox.size()) == (False, 0)
    outbox.unsent = 101
    assert (outbox.full(), outbox.size()) == (True, 101)


def test_a_large_flush_does_not_leave_its_size_behind() -> None:
    outbox, _ = make()
    writer = outbox.writer
    outbox.write(bytes(WRITER_KEPT_MAX))
    outbox.take()
    assert outbox.writer is writer
    outbox.write(bytes(WRITER_KEPT_MAX + 1))
    outbox.take()
    assert outbox.writer is not writer
