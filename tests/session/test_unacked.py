"""The table of messages in flight of one channel."""

from __future__ import annotations

from amqpd.broker.journal import Journal
from amqpd.broker.message import Address, Entry, Message
from amqpd.broker.queue import Lane, Queue
from amqpd.broker.shard import Shard
from amqpd.session.unacked import STALE_MAX, Unacked
from amqpd.wire.content import header_from_properties

MESSAGE = Message(Address("", "q", b"\0\1q"), header_from_properties(b"\0\0", 0), b"")


def in_flight(*tags: int) -> Unacked:
    unacked = Unacked()
    add(unacked, *tags)
    return unacked


def add(unacked: Unacked, *tags: int) -> None:
    queue = Queue(Shard(Journal(1, 0)), "/", "q", False, False, None, {})
    for tag in tags:
        entry = Entry(MESSAGE, Lane(queue, 0))
        entry.delivery_tag = tag
        unacked.add(entry)


def tags(entries: list[Entry] | None) -> list[int] | None:
    return None if entries is None else [int(entry.delivery_tag) for entry in entries]


def test_entry_is_taken_once() -> None:
    unacked = in_flight(1, 2, 3)
    entry = unacked.take(2)
    assert entry is not None
    assert entry.delivery_tag == 2
    assert unacked.take(2) is None


def test_entries_up_to_a_tag_come_in_order() -> None:
    unacked = in_flight(1, 2, 3, 4)
    unacked.take(2)
    assert tags(unacked.take_up_to(3)) == [1, 3]
    assert tags(unacked.take_up_to(4)) == [4]


def test_tag_that_is_not_outstanding_takes_nothing() -> None:
    unacked = in_flight(1, 2, 3)
    unacked.take(2)
    assert unacked.take_up_to(2) is None
    assert unacked.take_up_to(9) is None
    assert tags(unacked.take_up_to(0)) == [1, 3]


def test_zero_takes_all_and_may_find_none() -> None:
    unacked = in_flight(1, 2)
    assert tags(unacked.take_up_to(0)) == [1, 2]
    assert tags(unacked.take_up_to(0)) == []


def test_entries_put_back_are_in_order_again() -> None:
    unacked = in_flight(1, 2, 3, 4)
    taken = unacked.take_up_to(3)
    assert taken is not None
    unacked.put_back([taken[2], taken[0]])
    assert tags(unacked.take_up_to(0)) == [1, 3, 4]


def test_entries_acked_one_by_one_out_of_order_leave_no_growing_trace() -> None:
    unacked = in_flight(1)
    for tag in range(2, 20 * STALE_MAX):
        add(unacked, tag)
        assert unacked.take(tag) is not None
    assert len(unacked.order) <= STALE_MAX + 3
    assert tags(unacked.take_up_to(1)) == [1]


def test_up_to_looks_and_take_through_takes_whether_the_tag_is_there_or_not() -> None:
    unacked = in_flight(1, 2, 3, 5)
    unacked.take(2)
    assert tags(unacked.up_to(4)) == [1, 3]
    assert tags(unacked.up_to(0)) == []
    assert tags(unacked.take_up_to(4)) is None
    assert tags(unacked.take_through(4)) == [1, 3]
    assert tags(unacked.take_up_to(0)) == [5]
