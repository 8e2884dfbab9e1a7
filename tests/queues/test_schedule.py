"""The schedule step by step: its window, its horizon, reads that are out of date, what it is asked."""

from __future__ import annotations

import pytest

from amqpd.broker.message import Entry
from amqpd.queues.schedule import DONE, END_OF_TIME, FAULT_MS, KEPT, NAMED_MAX, WINDOW_BYTES, Keeper
from amqpd.store.memory import MemoryStore
from tests.queues.building import message
from tests.queues.scheduling import ScheduleBench


def filled(count: int = 20, window: int = 8, durable: bool = True) -> tuple[ScheduleBench, list[int]]:
    """A schedule with messages due 10, 20, 30 ms from now ..., written; and their positions."""
    bench = ScheduleBench(window=window, durable=durable)
    positions = [bench.put(10 * number, b"%d" % number) for number in range(1, count + 1)]
    bench.settle()
    return bench, positions


def numbers(bench: ScheduleBench) -> list[int]:
    return [int(body) for body in bench.notebook.bodies()]


# Time


def test_in_order_of_deadline_and_then_of_position() -> None:
    bench = ScheduleBench()
    for delay, body in ((30, b"5"), (10, b"1"), (20, b"3"), (10, b"2"), (20, b"4")):
        bench.put(delay, body)
    bench.advance(30)
    assert numbers(bench) == [1, 2, 3, 4, 5]


def test_each_in_its_own_millisecond() -> None:
    bench, _ = filled(3)
    start = bench.now
    bench.advance(1000)
    assert [when - start for when, _ in bench.notebook.came] == [10, 20, 30]
    assert bench.schedule.lateness[0] == bench.schedule.posted == 3


def test_lateness_is_counted_by_its_bits() -> None:
    bench, _ = filled(3)
    bench.broker.now += 25  # nobody woke it in time: 15 ms late, and 5
    bench.broker.tick(bench.now)
    bench.turn()
    assert [bits for bits, count in enumerate(bench.schedule.lateness) for _ in range(count)] == [3, 4]


def test_a_deadline_that_passed_is_due_at_once() -> None:
    bench = ScheduleBench()
    bench.put(-5)
    bench.put(0)
    bench.turn()
    assert len(bench.notebook.came) == 2


def test_a_fault_of_the_keeper_is_reported_and_the_message_tried_again() -> None:
    bench, _ = filled(2)
    bench.notebook.answer = lambda entry: 1 // 0 if entry.message.body == b"1" and len(bench.notebook.came) == 1 else 0
    with pytest.raises(AssertionError):  # the bench looks for reports
        bench.advance(10)
    (line,) = bench.broker.reports
    assert line.startswith("schedule 's' in vhost '/' failed, tried again: ZeroDivisionError")
    bench.broker.reports = []
    assert numbers(bench) == [1]
    bench.advance(FAULT_MS)
    assert (numbers(bench), bench.schedule.count) == ([2, 1], 0)


def test_no_more_at_once_than_asked_for() -> None:
    bench, _ = filled(5)
    bench.broker.now += 100
    bench.schedule.post(bench.broker, 2)
    assert numbers(bench) == [1, 2]
    bench.turn()
    assert numbers(bench) == [3, 4, 5]


def test_a_full_batch_waits_for_the_writer() -> None:
    bench, _ = filled(3)
    bench.journal.open_bytes_max = 16
    bench.vhost.declare_queue("other", "classic", True, False, None, {}).publish(message(b"." * 100))
    bench.advance(100)
    assert numbers(bench) == []
    bench.settle()
    assert numbers(bench) == [1, 2, 3]


# The window


def test_the_window_holds_what_comes_next() -> None:
    bench, positions = filled(20)
    assert set(bench.schedule.window) <= set(positions[:8])
    assert bench.schedule.unwritten == {}
    assert bench.schedule.count == 20
    bench.advance(500, bench.settle)
    assert [(when, body) for when, body in bench.notebook.came] == [
        (bench.now - 500 + 10 * number, b"%d" % number) for number in range(1, 21)
    ]
    assert (bench.schedule.count, bench.schedule.size, bench.schedule.horizon[0]) == (0, 0, END_OF_TIME)
    assert bench.stored() == []


def test_what_is_not_written_yet_stays_in_memory() -> None:
    bench, _ = filled(20)
    late = bench.put(5000)
    assert list(bench.schedule.unwritten) == [late]
    batch = bench.broker.take_batch()
    assert batch is not None
    later = bench.put(6000)
    bench.write(batch)
    assert list(bench.schedule.unwritten) == [later]
    bench.commit()
    assert bench.schedule.unwritten == {}


def test_the_window_is_bounded_in_octets() -> None:
    bench = ScheduleBench(window=1000)
    body = bytes(WINDOW_BYTES // 8)
    for number in range(20):
        bench.put(10 * number + 10, body)
        assert bench.schedule.window_bytes <= WINDOW_BYTES
    bench.settle()
    bench.advance(195, bench.settle)
    assert len(bench.notebook.came) == 19
    assert bench.schedule.window_bytes == len(body)


def test_one_that_is_larger_than_the_window_comes_all_the_same() -> None:
    bench = ScheduleBench()
    for delay in (30, 10, 20):
        bench.put(delay, bytes(WINDOW_BYTES + delay))
    bench.settle()
    bench.advance(30, bench.settle)
    assert [len(body) - WINDOW_BYTES for body in bench.notebook.bodies()] == [10, 20, 30]


def test_a_page_that_was_read_before_the_window_was_cut_is_left_alone() -> None:
    bench, _ = filled(20)
    bench.advance(10 * len(bench.schedule.window))  # it ran low: a page is asked for
    pages = bench.read()
    assert len(pages) == 1
    came = len(bench.notebook.came)
    for number in range(10):
        bench.put(1 + number % 5, b"100")
    bench.tell(pages)
    bench.settle()
    bench.advance(1000, bench.settle)
    assert numbers(bench)[came:] == [100] * 10 + list(range(came + 1, 21))


def test_one_that_was_moved_away_and_back_is_cut_from_the_window_once() -> None:
    """Its place stands twice in the heap."""
    bench = ScheduleBench()
    positions = [bench.put(10 * number, b"%d" % number) for number in range(1, 9)]
    for position in positions:
        entry = bench.entry(position)
        deadline = int(entry.deadline)
        bench.schedule.move(entry, deadline + 3)
        bench.schedule.move(entry, deadline)
    bench.put(90, b"9")
    assert sorted(bench.schedule.window) == positions[:4]
    bench.settle()
    bench.advance(200, bench.settle)
    assert numbers(bench) == list(range(1, 10))


# Reads and what happens meanwhile


def test_a_page_does_not_bring_back_what_was_settled() -> None:
    bench, positions = filled(20)
    number = bench.schedule.begin_read()
    stored = {one.position: one for one in bench.stored()}
    entry = bench.schedule.holding(stored[positions[15]], positions[15])
    assert entry is not None
    bench.schedule.settle(entry)
    assert bench.schedule.holding(stored[positions[15]], positions[15]) is None
    bench.settle()
    assert bench.schedule.holding(stored[positions[15]], positions[15]) is None
    bench.schedule.end_read(number)
    assert bench.schedule.gone == {}
    bench.advance(1000, bench.settle)
    assert numbers(bench) == [number for number in range(1, 21) if number != 16]


def test_what_was_moved_is_where_it_is_now_whatever_was_read() -> None:
    bench, positions = filled(20)
    number = bench.schedule.begin_read()
    stored = {one.position: one for one in bench.stored()}
    far, near = positions[15], positions[1]
    entry = bench.schedule.holding(stored[far], far)
    assert entry is not None
    bench.schedule.move(entry, bench.now + 5)
    bench.schedule.move(bench.entry(near), bench.now + 5000)
    bench.settle()
    for position, deadline in ((far, bench.now + 5), (near, bench.now + 5000)):
        found = bench.schedule.holding(stored[position], position)
        assert found is not None
        assert found.deadline == deadline
    bench.schedule.end_read(number)
    bench.advance(6000, bench.settle)
    assert numbers(bench) == [16, 1, *range(3, 16), *range(17, 21), 2]


def test_two_reads_the_older_one_holds_what_it_needs() -> None:
    bench, positions = filled(20)
    first, second = bench.schedule.begin_read(), bench.schedule.begin_read()
    bench.schedule.settle(bench.entry(positions[0]))
    bench.settle()
    bench.schedule.end_read(second)
    assert list(bench.schedule.gone) == [positions[0]]
    bench.schedule.end_read(first)
    assert bench.schedule.gone == {}


def test_a_page_that_was_read_before_a_purge_is_forgotten() -> None:
    bench, _ = filled(20)
    bench.advance(10 * len(bench.schedule.window))
    pages = bench.read()
    came = len(bench.notebook.bodies())
    assert bench.schedule.purge() == 20 - came
    bench.tell(pages)
    bench.settle()
    assert (bench.schedule.count, bench.schedule.window, bench.stored()) == (0, {}, [])
    bench.put(10, b"after")
    bench.settle()
    bench.advance(1000, bench.settle)
    assert bench.notebook.bodies() == [b"after"]


def test_a_page_that_is_read_before_a_purge_is_written_brings_nothing_back() -> None:
    bench, positions = filled(20)
    number = bench.schedule.begin_read()
    stored = {one.position: one for one in bench.stored()}
    bench.schedule.purge()
    kept = [bench.put(10 * number + 1, b"100") for number in range(10)]
    bench.advance(40)  # the window was cut, and ran low
    pages = bench.read()
    assert len(pages) == 1
    bench.tell(pages)
    assert all(bench.schedule.holding(stored[position], position) is None for position in positions)
    bench.schedule.end_read(number)
    assert bench.schedule.count == 6
    bench.settle()
    assert [one.position for one in bench.stored()] == kept[4:]
    bench.advance(1000, bench.settle)
    assert numbers(bench) == [100] * 10


# What is asked


def test_a_look_up_finds_what_was_published_before_it() -> None:
    bench = ScheduleBench(window=4)
    for number in range(10):
        bench.put(1000 + number, b"%d" % number, "even" if number % 2 == 0 else "odd")
    asking = bench.put(2000)
    bench.put(1500, b"after", "even")
    bench.schedule.look_up("even", bench.entry(asking))
    bench.settle()
    ((entry, bodies),) = bench.notebook.answers
    assert (entry.position, bodies) == (asking, [b"0", b"2", b"4", b"6", b"8"])


def test_a_look_up_waits_for_the_commit_and_sees_what_is_in_memory() -> None:
    bench = ScheduleBench()
    gone, stays = bench.put(1000, b"gone", "n"), bench.put(1000, b"stays", "n")
    bench.settle()
    asking = bench.put(2000)
    bench.schedule.look_up("n", bench.entry(asking))
    assert bench.read() == []
    bench.commit()
    pages = bench.read()
    bench.schedule.settle(bench.entry(gone))
    bench.tell(pages)
    assert [bodies for _, bodies in bench.notebook.answers] == [[b"stays"]]
    assert bench.entry(stays).deadline == bench.now + 1000


def test_a_look_up_whose_batch_is_under_way_waits_for_that_one() -> None:
    """Nothing is in the open batch, so that is never written."""
    bench = ScheduleBench()
    bench.put(1000, b"m", "n")
    asking = bench.put(2000)
    batch = bench.broker.take_batch()
    assert batch is not None
    bench.schedule.look_up("n", bench.entry(asking))
    bench.write(batch)
    bench.tell(bench.read())
    assert [bodies for _, bodies in bench.notebook.answers] == [[b"m"]]


def test_a_look_up_finds_a_bounded_number() -> None:
    bench = ScheduleBench()
    for _ in range(NAMED_MAX + 1):
        bench.put(1000, b"m", "n")
    bench.schedule.look_up("n", bench.entry(bench.put(2000)))
    bench.settle()
    assert [len(bodies) for _, bodies in bench.notebook.answers] == [NAMED_MAX]


def test_nobody_answers_who_was_settled_or_purged() -> None:
    bench = ScheduleBench()
    first, second = bench.put(1000), bench.put(1000)
    bench.schedule.look_up("n", bench.entry(first))
    bench.schedule.settle(bench.entry(first))
    bench.settle()
    bench.schedule.look_up("n", bench.entry(second))
    bench.schedule.purge()
    bench.settle()
    assert bench.notebook.answers == []
    assert (bench.schedule.reads, bench.schedule.looking) == ({}, [])


def test_one_that_is_kept_waits_for_its_keeper() -> None:
    bench = ScheduleBench()
    bench.notebook.answer = lambda entry: KEPT
    position = bench.put(10, b"k")
    bench.settle()
    bench.advance(1000)
    bench.settle()
    assert bench.notebook.bodies() == [b"k"]
    assert (bench.schedule.count, list(bench.schedule.kept), bench.schedule.window) == (1, [position], {})
    bench.schedule.settle(bench.entry(position))
    bench.settle()
    assert (bench.schedule.count, bench.schedule.kept, bench.stored()) == (0, {}, [])


def test_one_that_is_kept_is_not_read_again() -> None:
    bench = ScheduleBench()
    bench.notebook.answer = lambda entry: KEPT if entry.message.body == b"1" else DONE
    bench.put(0, b"1")
    bench.turn()
    for _ in range(9):
        bench.put(-5, b"0")  # the window is cut in front of the one that is kept
    bench.settle()
    assert numbers(bench) == [1, *[0] * 9]
    assert (bench.schedule.count, len(bench.schedule.kept)) == (1, 1)


def test_one_that_is_kept_can_be_put_back() -> None:
    bench = ScheduleBench()
    bench.notebook.answer = lambda entry: KEPT
    position = bench.put(10, b"k")
    bench.advance(10)
    bench.schedule.move(bench.entry(position), bench.now + 50)
    assert bench.schedule.kept == {}
    bench.advance(49)
    assert bench.notebook.bodies() == [b"k"]
    bench.advance(1)
    assert bench.notebook.bodies() == [b"k"]


def test_a_restart_makes_one_that_is_kept_due_again() -> None:
    bench = ScheduleBench()
    bench.notebook.answer = lambda entry: KEPT
    bench.put(10, b"k")
    bench.advance(10)
    bench.settle()
    bench = bench.reopened(clean=True)
    bench.settle()
    assert bench.notebook.bodies() == [b"k"]


def test_the_keeper_gives_another_time() -> None:
    bench = ScheduleBench()
    times = 3

    def again(entry: Entry) -> int:
        nonlocal times
        times -= 1
        return bench.now + 100 if times else 0

    bench.notebook.answer = again
    bench.put(10, b"again")
    start = bench.now
    bench.settle()
    bench.advance(1000, bench.settle)
    assert [when - start for when, _ in bench.notebook.came] == [10, 110, 210]
    assert (bench.schedule.count, bench.schedule.posted, bench.stored()) == (0, 3, [])


def test_no_more_than_its_limit_waits() -> None:
    bench = ScheduleBench()
    bench.schedule.limit = 2
    bench.put(10)
    bench.put(20)
    assert not bench.schedule.put(message(), bench.now)
    bench.advance(10)
    assert bench.schedule.put(message(), bench.now + 100)


def test_a_keeper_says_when() -> None:
    class Later(Keeper):
        def deadline(self, message: object) -> int:
            return bench.now + 77

    bench = ScheduleBench()
    bench.schedule.attach(Later(), False)
    assert bench.schedule.publish(message())
    assert bench.schedule.next_deadline() == bench.now + 77


# Restarts


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_keeps_what_was_committed(clean: bool) -> None:
    bench, positions = filled(20)
    bench.schedule.move(bench.entry(positions[0]), bench.now + 5000)
    bench.schedule.settle(bench.entry(positions[1]))
    bench.commit()
    bench.schedule.settle(bench.entry(positions[2]))
    bench = bench.reopened(clean)
    gone = {1, 2, 3} if clean else {1, 2}
    assert (bench.schedule.count, bench.schedule.window) == (20 - len(gone) + 1, {})
    bench.settle()
    bench.advance(6000, bench.settle)
    assert numbers(bench) == [*(number for number in range(1, 21) if number not in gone), 1]


def test_a_transient_schedule_pages_and_is_gone_after_a_restart() -> None:
    bench, _ = filled(20, durable=False)
    assert len(bench.schedule.window) <= 8
    assert (bench.disk.durable.messages, len(bench.disk.paged.messages)) == ({}, 20)
    assert bench.schedule.unwritten == {}
    bench.advance(100, bench.settle)
    assert numbers(bench) == list(range(1, 11))
    bench = bench.reopened(clean=True)
    assert (bench.schedule.count, bench.stored()) == (0, [])


def test_a_transient_schedule_that_is_dropped_leaves_nothing() -> None:
    bench, _ = filled(20, durable=False)
    bench.put(3)
    bench.vhost.drop_internal_queue(bench.schedule)
    bench.commit()
    bench.advance(1000, bench.commit)
    assert numbers(bench) == []
    assert bench.disk.paged.messages == {}
    assert bench.broker.next_deadline() == 0


@pytest.mark.parametrize("transient", [True, False])
def test_a_purge_takes_what_is_written_and_what_is_not(transient: bool) -> None:
    bench, positions = filled(20, durable=not transient)
    bench.put(3)
    batch = bench.broker.take_batch()  # under way
    bench.put(4)
    bench.put(5000)
    bench.schedule.settle(bench.entry(positions[0]))
    assert bench.schedule.purge() == 22
    kept = bench.put(7, b"7")
    assert batch is not None
    bench.write(batch)
    bench.settle()
    assert [one.position for one in bench.stored()] == [kept]
    bench.advance(6000, bench.settle)
    assert numbers(bench) == [7]
    if not transient:
        assert bench.disk.depths[int(bench.schedule.lane.id)] == (0, 0)
    assert (bench.disk.durable.messages, bench.disk.paged.messages) == ({}, {})


def test_how_many_are_overdue_is_told_before_the_first_is_due() -> None:
    bench, _ = filled(20)
    bench.broker.now += 155
    bench = bench.reopened(clean=True, counts_overdue=True)
    pages = bench.read()
    bench.put(-1000, b"99")
    bench.turn()
    assert (bench.schedule.overdue, bench.notebook.came) == (-1, [])
    bench.tell(pages)
    assert bench.schedule.overdue == 15
    bench.settle()
    assert numbers(bench) == [99, *range(1, 16)]
    assert sum(bench.schedule.lateness) == 0


def test_nothing_is_overdue_where_nothing_waits() -> None:
    bench = ScheduleBench(MemoryStore())
    bench = bench.reopened(clean=True, counts_overdue=True)
    assert bench.schedule.overdue == 0
    bench.put(0, b"1")
    bench.turn()
    assert numbers(bench) == [1]


def test_nothing_is_held_back_when_everything_overdue_was_dropped() -> None:
    bench, _ = filled(20)
    bench = bench.reopened(clean=True, counts_overdue=True)
    pages = bench.read()
    bench.schedule.purge()
    bench.put(0, b"1")
    bench.turn()
    assert numbers(bench) == []
    bench.tell(pages)
    assert numbers(bench) == [1]
