"""A priority queue: strict levels, first in first out inside one, paged and restored like any queue."""

from __future__ import annotations

import random

import pytest

from amqpd.broker.letters import MAXLEN
from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import NACKED
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.priority import PriorityReady
from amqpd.wire.content import header_from_properties
from amqpd.wire.table import Field
from tests.queues.building import Bench, FakeChannel, bodies, consumer, message

BODY = b"." * 100


def prioritized(bench: Bench, highest: int = 5, name: str = "q", durable: bool = True) -> ClassicQueue:
    arguments = {"x-max-priority": Field("I", highest)}
    queue = bench.vhost.declare_queue(name, "classic", durable, False, None, arguments)
    assert isinstance(queue, ClassicQueue)
    return queue


def quorum(bench: Bench, name: str = "q") -> ClassicQueue:
    queue = bench.vhost.declare_queue(name, "quorum", True, False, None, {"x-queue-type": Field("S", b"quorum")})
    assert isinstance(queue, ClassicQueue)
    return queue


def of_priority(priority: int, body: bytes, persistent: bool = True, expiration: bytes = b"") -> Message:
    """``priority`` -1: without one. ``expiration``: empty for none."""
    flags, values = 0x1000, bytes((2 if persistent else 1,))
    if priority >= 0:
        flags |= 0x0800
        values += bytes((priority,))
    if expiration:
        flags |= 0x0100
        values += bytes((len(expiration),)) + expiration
    header = header_from_properties(flags.to_bytes(2, "big") + values, len(body))
    return Message(message().address, header, body)


def fill(queue: ClassicQueue, *priorities: int, persistent: bool = True) -> None:
    """Bodies begin with the priority and the number of the message."""
    for number, priority in enumerate(priorities):
        queue.publish(of_priority(priority, b"%d:%d " % (priority, number) + BODY, persistent))


def take(bench: Bench, queue: ClassicQueue) -> Entry:
    """The next entry, from disk if need be."""
    entry = queue.get()
    if entry is None:
        bench.read_pages()
        entry = queue.get()
    assert entry is not None
    return entry


def heads(taken: list[bytes]) -> list[str]:
    return [body.split()[0].decode() for body in taken]


def test_higher_priorities_come_first_and_each_is_first_in_first_out() -> None:
    bench = Bench()
    queue = prioritized(bench)
    fill(queue, 0, 3, 5, 3, 1, 5)
    assert heads(bodies(bench.drain(queue))) == ["5:2", "5:5", "3:1", "3:3", "1:4", "0:0"]


def test_more_than_the_maximum_counts_as_the_maximum_and_none_as_0() -> None:
    bench = Bench()
    queue = prioritized(bench, 5)
    fill(queue, -1, 5, 9, 5, 255, 0)
    assert heads(bodies(bench.drain(queue))) == ["5:1", "9:2", "5:3", "255:4", "-1:0", "0:5"]


def test_a_quorum_queue_has_32_levels_and_4_is_what_a_message_without_priority_has() -> None:
    bench = Bench()
    queue = quorum(bench)
    assert queue.levels == 32
    fill(queue, 3, -1, 4, 5, 31, 40)
    assert heads(bodies(bench.drain(queue))) == ["31:4", "40:5", "5:3", "-1:1", "4:2", "3:0"]


def test_a_maximum_of_0_is_a_plain_queue() -> None:
    queue = prioritized(Bench(), 0)
    assert queue.levels == 1
    assert not isinstance(queue.ready, PriorityReady)


def test_a_requeued_message_keeps_its_place_in_its_level() -> None:
    bench = Bench()
    queue = prioritized(bench)
    fill(queue, 1, 2, 2)
    first = queue.get()
    assert first is not None
    fill(queue, 5)
    queue.requeue(first, NACKED)
    assert heads(bodies(bench.drain(queue))) == ["5:0", "2:1", "2:2", "1:0"]


def test_a_message_of_a_higher_priority_overtakes_in_the_same_turn() -> None:
    bench = Bench()
    queue = prioritized(bench)
    channel = FakeChannel(room=1)
    one = consumer(queue, channel)
    queue.consume(one)
    fill(queue, 1, 4)
    bench.broker.run_turn()
    assert heads(channel.bodies()) == ["4:1"]


def test_what_is_dropped_from_the_head_is_of_the_highest_priority() -> None:
    bench = Bench()
    queue = prioritized(bench)
    fill(queue, 0, 5, 3)
    assert queue.drop_head(MAXLEN)
    assert heads(bodies(bench.drain(queue))) == ["3:2", "0:0"]


def test_all_levels_together_keep_within_the_window_of_one_queue() -> None:
    bench = Bench(window=60_000)
    queue = prioritized(bench, 9)
    fill(queue, *range(10))
    fill(queue, *list(range(10)) * 100)
    bench.commit()
    assert queue.message_count() == 1010
    assert bench.shard.window_bytes < 60_000 + 10 * 600  # each may have one message too many


def test_pages_come_back_in_order_of_priority() -> None:
    bench = Bench(window=600)
    queue = prioritized(bench)
    priorities = [0, 5, 2] * 20
    fill(queue, *priorities)
    bench.commit()
    assert queue.message_count() == 60
    assert bench.shard.window_bytes < 3 * (600 + 600)
    taken = heads(bodies(bench.drain(queue)))
    wanted = [f"{level}:{number}" for level in (5, 2, 0) for number, one in enumerate(priorities) if one == level]
    assert taken == wanted


def test_transient_messages_page_too_and_nothing_stays_behind_when_the_queue_goes() -> None:
    bench = Bench(window=600)
    queue = prioritized(bench, durable=False)
    fill(queue, *[0, 5, 2] * 10, persistent=False)
    bench.commit()
    assert bench.disk.paged.messages
    taken = heads(bodies(bench.drain(queue)[:12]))
    assert [one[0] for one in taken] == ["5"] * 10 + ["2"] * 2
    fill(queue, *[1, 3] * 10, persistent=False)
    bench.commit()
    bench.vhost.delete_queue(queue)
    bench.commit()
    assert not bench.disk.paged.messages


def test_nothing_lower_is_delivered_while_the_highest_level_waits_for_its_page() -> None:
    bench = Bench(window=600)
    queue = prioritized(bench)
    fill(queue, *[5] * 10)
    bench.commit()
    fill(queue, 0)
    for _ in range(2):
        assert queue.get() is not None
    while queue.get() is not None:
        pass
    assert queue.loading()
    channel = FakeChannel()
    queue.consume(consumer(queue, channel))
    bench.broker.run_turn()
    assert not channel.got
    while bench.read_pages():
        bench.broker.run_turn()
    assert heads(channel.bodies())[-1] == "0:0"


def test_after_a_restart_every_level_is_as_it_was() -> None:
    for clean in (True, False):
        bench = Bench(window=600)
        queue = prioritized(bench)
        fill(queue, *[0, 5, 2] * 5)
        bench.commit()
        for _ in range(3):
            queue.settle(take(bench, queue))
        take(bench, queue)
        bench.commit()
        again = bench.reopened(clean)
        kept = again.vhost.queues["q"]
        assert isinstance(kept, ClassicQueue)
        assert kept.message_count() == 12
        taken = again.drain(kept)
        assert [one[0] for one in heads(bodies(taken))] == ["5"] * 2 + ["2"] * 5 + ["0"] * 5
        # After a clean end just what had been delivered is flagged, level by level.
        assert [entry.redelivered for entry in taken] == ([True] + [False] * 11 if clean else [True] * 12)


def test_queues_declared_after_a_priority_queue_do_not_share_its_lanes() -> None:
    bench = Bench()
    first, second = prioritized(bench, 255, "first"), prioritized(bench, 255, "second")
    third = bench.queue("third")
    assert first.id + 256 <= second.id
    assert second.id + 256 <= third.id
    fill(first, 255)
    fill(second, 0)
    bench.commit()
    again = bench.reopened(clean=True)
    assert [again.vhost.queues[name].message_count() for name in ("first", "second", "third")] == [1, 1, 0]


def test_a_purge_takes_every_level_from_memory_and_from_disk() -> None:
    bench = Bench(window=600)
    queue = prioritized(bench)
    fill(queue, *[0, 5, 2] * 10)
    bench.commit()
    assert queue.purge() == 30
    assert (queue.message_count(), queue.ready_bytes(), int(bench.shard.window_bytes)) == (0, 0, 0)
    bench.commit()
    assert not bench.disk.durable.messages
    bench.read_pages()  # what was asked for before comes to nothing
    assert queue.get() is None
    fill(queue, 4, 1)
    assert heads(bodies(bench.drain(queue))) == ["4:0", "1:1"]


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_sizes_are_those_of_the_levels_whatever_happens(seed: int) -> None:
    bench = Bench(window=600)
    bench.shard.now = 1000
    queue = prioritized(bench, 3)
    ready = queue.ready
    assert isinstance(ready, PriorityReady)
    chance = random.Random(seed)
    in_flight = []
    for _ in range(2000):
        step = chance.random()
        if step < 0.45:
            expiration = b"%d" % chance.randrange(1, 300) if chance.random() < 0.3 else b""
            queue.publish(of_priority(chance.randrange(-1, 5), BODY, chance.random() < 0.5, expiration))
        elif step < 0.7:
            entry = queue.get()
            if entry is not None:
                in_flight.append(entry)
        elif step < 0.8 and in_flight:
            queue.requeue(in_flight.pop(chance.randrange(len(in_flight))), NACKED)
        elif step < 0.9 and in_flight:
            queue.settle(in_flight.pop())
        elif step < 0.905:
            queue.purge()
        elif step < 0.92:
            bench.shard.now += 50
            bench.broker.run_turn()
        elif step < 0.95:
            bench.commit()
        else:
            bench.read_pages()
        assert ready.count() == sum(one.count() for one in ready.used)
        assert ready.size() == sum(one.size() for one in ready.used)
    for entry in in_flight + bench.drain(queue):
        queue.settle(entry)
    bench.commit()
    assert (ready.count(), ready.size()) == (0, 0)
    assert not bench.disk.durable.messages
    assert not bench.disk.paged.messages
