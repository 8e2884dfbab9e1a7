"""The newest messages in memory: what is there, and what goes when room is short."""

from __future__ import annotations

from amqpd.queues.stream.tail import TRIM_AT, Tail
from amqpd.wire.table import Field
from tests.queues.building import Bench, message, numbered

COST = 503  # of one of ``numbered``


def filled(bench: Bench, count: int) -> Tail:
    tail = Tail(bench.shard)
    for number, body in enumerate(numbered(count), 1):
        one = message(body)
        one.id = number
        tail.push(one)
    return tail


def test_it_knows_messages_by_offset() -> None:
    bench = Bench()
    tail = filled(bench, 5)
    assert (tail.first, tail.end, tail.bytes, bench.shard.window_bytes) == (0, 5, 5 * COST, 5 * COST)
    for offset in (3, 0, 4, 3):
        found = tail.message(offset)
        assert found.body[:3] == b"%03d" % offset
        assert found.header.table()["x-stream-offset"] == Field("l", offset)
        assert found.id == offset + 1


def test_a_message_gets_its_header_once_for_all_consumers() -> None:
    tail = filled(Bench(), 2)
    assert tail.message(1) is tail.message(1)


def test_the_oldest_go_where_there_is_no_room() -> None:
    bench = Bench(3 * COST)
    tail = filled(bench, 10)
    assert (tail.end - tail.first, tail.end) == (2, 10)
    assert tail.bytes == bench.shard.window_bytes == 2 * COST
    assert tail.message(9).body[:3] == b"009"
    assert tail.message(8).body[:3] == b"008"


def test_one_message_stays_however_big_it_is() -> None:
    bench = Bench(10)
    tail = Tail(bench.shard)
    tail.push(message(b"x" * 5000))
    assert (tail.first, tail.end) == (0, 1)
    tail.push(message(b"001"))
    assert (tail.first, tail.end) == (1, 2)
    assert tail.message(1).body == b"001"
    assert bench.shard.window_bytes == tail.bytes == 403


def test_offsets_hold_while_the_lists_are_cut() -> None:
    bench = Bench(3 * COST)
    tail = Tail(bench.shard)
    for offset, body in enumerate(numbered(2 * TRIM_AT + 10)):
        tail.push(message(body))
        if offset < TRIM_AT:
            tail.message(offset)
    assert tail.end - tail.first == 2
    for offset in range(int(tail.first), int(tail.end)):
        found = tail.message(offset)
        assert found.body.startswith(b"%d." % offset)
        assert found.header.table()["x-stream-offset"] == Field("l", offset)
    assert bench.shard.window_bytes == tail.bytes == 2 * (COST + 1)  # the number has a fourth digit by now
    assert len(tail._slots) < TRIM_AT + 4


def test_what_nobody_waits_for_is_passed_over() -> None:
    bench = Bench()
    tail = filled(bench, 3)
    tail.skip()
    assert (tail.first, tail.end, tail.bytes, bench.shard.window_bytes) == (4, 4, 0, 0)
    tail.push(message(b"004"))
    assert (tail.first, tail.end, tail.message(4).body) == (4, 5, b"004")


def test_cleared_it_goes_on_at_the_same_offset() -> None:
    bench = Bench()
    tail = filled(bench, 3)
    tail.message(1)
    tail.clear()
    assert (tail.first, tail.end, bench.shard.window_bytes) == (3, 3, 0)
    tail.push(message(b"003"))
    assert tail.message(3).header.table() == {"x-stream-offset": Field("l", 3)}
