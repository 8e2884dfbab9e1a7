"""Which entries expire when: order, the heap, what was taken while the store still holds it."""

from __future__ import annotations

from amqpd.broker.message import Entry
from amqpd.queues.deadlines import NEVER, STALE_MAX, Deadlines
from tests.queues.building import Bench, message


def entry(deadline: int, position: int = 1) -> Entry:
    made = Entry(message(), Bench().queue().ready.lanes()[0])
    made.deadline = deadline
    made.position = position
    return made


def test_an_entry_that_expires_before_one_ahead_of_it_is_early() -> None:
    deadlines = Deadlines()
    early = []
    for deadline in (10, 10, 9, 12, 11):
        one = entry(deadline)
        deadlines.enters(one, False)
        early.append(one.early)
    assert early == [False, False, True, False, True]


def test_behind_one_that_never_expires_every_deadline_is_early_until_the_list_is_empty() -> None:
    deadlines = Deadlines()
    deadlines.horizon = NEVER
    behind, first = entry(10), entry(5)
    deadlines.enters(behind, False)
    deadlines.enters(first, True)
    assert (behind.early, first.early) == (True, False)


def test_the_watched_entry_that_expires_first_is_found_whatever_left_meanwhile() -> None:
    deadlines = Deadlines()
    entries = [entry(deadline, deadline) for deadline in (30, 10, 20)]
    for one in entries:
        deadlines.watch(one)
    deadlines.unwatch(entries[1])
    assert deadlines.first() is entries[2]


def test_an_entry_that_comes_back_again_and_again_is_watched_once() -> None:
    deadlines = Deadlines()
    one = entry(10)
    for _ in range(3):
        deadlines.watch(one)
        deadlines.watch(one)
        deadlines.unwatch(one)
    assert deadlines.first() is None
    deadlines.watch(one)
    assert (deadlines.first(), deadlines.watched) == (one, 1)


def test_the_heap_does_not_grow_with_entries_that_left() -> None:
    deadlines = Deadlines()
    one = entry(10)
    for _ in range(3 * STALE_MAX):
        deadlines.watch(one)
        deadlines.unwatch(one)
    assert len(deadlines.heap) <= STALE_MAX + 1


def test_a_complete_read_forgets_what_is_deleted_of_what_was_taken_before_it() -> None:
    deadlines = Deadlines()
    deadlines.asks()
    for position in (1, 2):
        deadlines.take(position, 100)
    deadlines.asks()
    deadlines.take(3, 50)  # the read under way may not know of it
    deadlines.confirm({2: True})
    assert (sorted(deadlines.taken), deadlines.taken_bytes) == ([2, 3], 150)


def test_a_read_is_wanted_when_most_of_what_was_taken_may_be_deleted() -> None:
    deadlines = Deadlines()
    for position in range(STALE_MAX):
        deadlines.take(position, 1)
    assert not deadlines.many_taken()
    deadlines.take(STALE_MAX, 1)
    assert deadlines.many_taken()
    deadlines.asks()
    deadlines.confirm(dict.fromkeys(range(100), True))
    assert (len(deadlines.taken), deadlines.taken_bytes, deadlines.many_taken()) == (100, 100, False)


def test_what_pages_have_passed_is_forgotten() -> None:
    deadlines = Deadlines()
    for position in (1, 2, 3):
        deadlines.take(position, 10)
    deadlines.passed(2)
    assert (list(deadlines.taken), deadlines.taken_bytes) == ([3], 10)


def test_what_was_taken_is_forgotten_with_the_disk() -> None:
    deadlines = Deadlines()
    deadlines.take(1, 10)
    deadlines.to_disk(5)
    deadlines.forget_disk()
    assert not deadlines.taken
    assert deadlines.on_disk == deadlines.taken_bytes == 0
