"""The checking consumer of the backlog benchmark: what it accepts and every fault it must see."""

import struct

import pytest

from bench.harness.client import Address, ClientError, method_frame, short_string
from bench.harness.drain import CONSUMER_TAG, Drain, pattern

SIZE = 64
COUNT = 20


def delivery(tag: int, sequence: int, redelivered: int = 0, body_tail: bytes | None = None) -> bytes:
    """Return the three frames of one delivery of amqpbench's message ``sequence``."""
    arguments = short_string(CONSUMER_TAG) + struct.pack(">QB", tag, redelivered) + b"\0" + short_string("q")
    body = struct.pack(">QQ", sequence, 1000 + sequence) + (pattern(SIZE)[16:] if body_tail is None else body_tail)
    header = struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2)
    return method_frame(1, 60, 60, arguments) + frame(2, header) + frame(3, body)


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def drained(data: bytes, piece: int = 1 << 20) -> Drain:
    drain = Drain(Address(), "q", COUNT, SIZE)
    for at in range(0, len(data), piece):
        drain.receive_data(data[at : at + piece])
    return drain


def in_order(sequences: list[int]) -> bytes:
    return b"".join(delivery(tag, sequence) for tag, sequence in enumerate(sequences, 1))


@pytest.mark.parametrize("piece", [1, 7, 100, 1000, 1 << 20])
def test_a_whole_queue_in_order_is_exact_however_it_is_cut(piece: int) -> None:
    drain = drained(in_order(list(range(COUNT))), piece)
    assert drain.tally.exact
    assert drain.tally.received == COUNT


def test_a_missing_message_is_lost() -> None:
    tally = drained(in_order([n for n in range(COUNT) if n != 7])).tally
    assert not tally.exact
    assert (tally.lost, tally.reordered, tally.received) == (1, 0, COUNT - 1)


def test_missing_last_messages_are_lost() -> None:
    tally = drained(in_order(list(range(COUNT - 3)))).tally
    assert not tally.exact
    assert tally.lost == 3


def test_two_messages_that_changed_places_are_reordered_but_not_lost() -> None:
    tally = drained(in_order([0, 1, 3, 2, *range(4, COUNT)])).tally
    assert not tally.exact
    assert (tally.lost, tally.reordered, tally.received) == (0, 1, COUNT)


def test_a_message_that_comes_twice_is_a_duplicate() -> None:
    tally = drained(in_order([0, 1, 2, 2, *range(3, COUNT)])).tally
    assert not tally.exact
    assert (tally.duplicate, tally.lost) == (1, 0)


def test_a_message_beyond_the_count_is_foreign() -> None:
    tally = drained(in_order([*range(COUNT), COUNT])).tally
    assert not tally.exact
    assert tally.foreign == 1


@pytest.mark.parametrize("at", [0, 9])
def test_one_changed_octet_is_corrupt(at: int) -> None:
    wrong = bytes((pattern(SIZE)[16] ^ 1,)) + pattern(SIZE)[17:]
    deliveries = [delivery(n + 1, n, body_tail=wrong if n == at else None) for n in range(COUNT)]
    tally = drained(b"".join(deliveries)).tally
    assert not tally.exact
    assert tally.corrupt == 1


def test_a_short_body_is_corrupt() -> None:
    deliveries = [delivery(n + 1, n, body_tail=b"short" if n == 4 else None) for n in range(COUNT)]
    assert drained(b"".join(deliveries)).tally.corrupt == 1


@pytest.mark.parametrize("at", [0, 9])
def test_a_redelivered_flag_is_counted(at: int) -> None:
    deliveries = [delivery(n + 1, n, redelivered=int(n == at)) for n in range(COUNT)]
    tally = drained(b"".join(deliveries)).tally
    assert not tally.exact
    assert tally.redelivered == 1


def test_a_heartbeat_between_deliveries_is_passed_over() -> None:
    heartbeat = struct.pack(">BHI", 8, 0, 0) + b"\xce"
    deliveries = [delivery(n + 1, n) + heartbeat * (n % 3) for n in range(COUNT)]
    assert drained(b"".join(deliveries), 50).tally.exact


def test_a_channel_close_is_raised_with_its_text() -> None:
    close = method_frame(1, 20, 40, struct.pack(">H", 406) + short_string("PRECONDITION_FAILED") + b"\0\0\0\0")
    with pytest.raises(ClientError, match="406 PRECONDITION_FAILED"):
        drained(delivery(1, 0) + close)


def test_a_frame_without_its_end_octet_is_raised() -> None:
    with pytest.raises(ClientError, match="end octet"):
        drained(delivery(1, 0)[:-1] + b"\0")
