"""The frame reader: the same frames however the stream is cut, in linear time, within its limits."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.spec.errors import FrameError
from amqpd.wire.frames import FRAME_SIZE_TOLERANCE, FrameReader


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes

    def octets(self) -> bytes:
        return struct.pack(">BHI", self.kind, self.channel, len(self.payload)) + self.payload + b"\xce"


frames = st.lists(st.builds(Frame, st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=60)), max_size=12)


def take_all(reader: FrameReader) -> list[Frame]:
    taken: list[Frame] = []
    while reader.next_frame():
        payload = reader.buffer[reader.start : reader.end]
        taken.append(Frame(int(reader.kind), int(reader.channel), payload))
    return taken


@given(frames)
def test_frames_come_out_as_they_went_in(sent: list[Frame]) -> None:
    reader = FrameReader(0)
    reader.feed(b"".join(frame.octets() for frame in sent))
    assert take_all(reader) == sent
    assert reader.pending() == 0


@given(frames, st.data())
def test_any_cutting_gives_the_same_frames(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(frame.octets() for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader(0)
    taken: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        taken += take_all(reader)
    assert taken == sent
    assert reader.pending() == 0


@given(frames, st.data())
def test_frames_that_are_not_taken_at_once_are_not_lost(sent: list[Frame], data: st.DataObject) -> None:
    """A stalled connection leaves frames in the reader while more bytes come."""
    stream = b"".join(frame.octets() for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader(0)
    taken: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        for _ in range(data.draw(st.integers(0, 2))):
            if reader.next_frame():
                payload = reader.buffer[reader.start : reader.end]
                taken.append(Frame(int(reader.kind), int(reader.channel), payload))
    assert taken + take_all(reader) == sent


def test_a_stalled_reader_does_not_wait_for_the_size_of_an_earlier_frame() -> None:
    reader = FrameReader(0)
    large = Frame(3, 1, bytes(1000)).octets()
    reader.feed(large[:500])
    assert take_all(reader) == []
    small = Frame(1, 1, b"abcd")
    reader.feed(large[500:] + small.octets() + small.octets())
    assert reader.next_frame()
    reader.feed(small.octets())
    assert take_all(reader) == [small] * 3


def joined_octets(stream: bytes, step: int) -> int:
    """Octets copied into new buffers when ``stream`` comes in pieces of ``step``."""
    reader = FrameReader(0)
    copied = 0
    for at in range(0, len(stream), step):
        piece = stream[at : at + step]
        reader.feed(piece)
        if reader.buffer is not piece:
            copied += len(reader.buffer)
        while reader.next_frame():
            pass
    assert reader.pending() == 0
    return copied


@pytest.mark.parametrize("size", [1_000, 10_000, 100_000])
@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_frame_in_small_pieces_is_copied_a_fixed_number_of_times(size: int, step: int) -> None:
    stream = Frame(3, 1, bytes(size)).octets()
    assert joined_octets(stream, step) <= 2 * len(stream)


def test_many_frames_octet_by_octet_are_copied_a_fixed_number_of_times() -> None:
    stream = Frame(3, 1, b"body").octets() * 1000
    assert joined_octets(stream, 1) <= 4 * len(stream)


def test_pending_counts_what_is_not_a_frame_yet() -> None:
    reader = FrameReader(0)
    stream = Frame(1, 0, bytes(50)).octets()
    for count, octet in enumerate(stream[:-1], 1):
        reader.feed(bytes((octet,)))
        assert not reader.next_frame()
        assert reader.pending() == count
    reader.feed(stream[-1:])
    assert reader.next_frame()
    assert reader.pending() == 0


def test_a_reader_that_has_read_everything_keeps_nothing() -> None:
    reader = FrameReader(0)
    reader.feed(Frame(3, 1, bytes(200_000)).octets())
    assert len(take_all(reader)) == 1
    assert len(reader.buffer) == 0


@pytest.mark.parametrize("end", [octet for octet in range(256) if octet != 0xCE])
def test_a_wrong_end_octet_is_refused(end: int) -> None:
    reader = FrameReader(0)
    reader.feed(Frame(8, 0, b"").octets()[:-1] + bytes((end,)))
    with pytest.raises(FrameError) as raised:
        reader.next_frame()
    assert raised.value.text == f"type 8, all octets = <<>>: {{invalid_frame_end_marker,{end}}}"
    assert raised.value.method == 0


def test_payloads_a_little_above_the_limit_are_tolerated() -> None:
    for size in (100, 100 + FRAME_SIZE_TOLERANCE):
        reader = FrameReader(100)
        reader.feed(Frame(3, 1, bytes(size)).octets())
        assert len(take_all(reader)) == 1


@pytest.mark.parametrize("size", [100 + FRAME_SIZE_TOLERANCE + 1, 1 << 31, (1 << 32) - 1])
def test_a_payload_that_is_too_large_is_refused_before_it_comes(size: int) -> None:
    reader = FrameReader(100)
    reader.feed(struct.pack(">BHI", 3, 1, size))
    with pytest.raises(FrameError) as raised:
        reader.next_frame()
    assert raised.value.text == f"type 3, all octets = <<>>: {{frame_too_large,{size},100}}"
    assert raised.value.method == 0


def test_no_limit_takes_any_size() -> None:
    reader = FrameReader(0)
    reader.feed(struct.pack(">BHI", 3, 1, (1 << 32) - 1) + bytes(1000))
    assert not reader.next_frame()
    assert reader.pending() == 1007


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_raises_frame_error_and_nothing_else(pieces: list[bytes]) -> None:
    reader = FrameReader(4088)
    for piece in pieces:
        reader.feed(piece)
        try:
            while reader.next_frame():
                assert 0 <= reader.kind <= 255
                assert 0 <= reader.channel <= 65535
        except FrameError:
            return
        assert reader.pending() <= 4088 + FRAME_SIZE_TOLERANCE + 8
