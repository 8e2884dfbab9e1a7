"""The consumer ring: whose turn it is."""

from __future__ import annotations

from amqpd.broker.queue import Consumer
from amqpd.queues.ring import ConsumerRing
from tests.queues.building import Bench, FakeChannel, consumer


def ring_of(*priorities: int) -> tuple[ConsumerRing, list[Consumer], list[FakeChannel]]:
    queue = Bench().queue()
    ring = ConsumerRing()
    channels = [FakeChannel() for _ in priorities]
    consumers = [
        consumer(queue, channel, str(number), priority=priority)
        for number, (channel, priority) in enumerate(zip(channels, priorities, strict=True))
    ]
    for one in consumers:
        ring.add(one)
    return ring, consumers, channels


def turns(ring: ConsumerRing, count: int) -> str:
    return "".join("-" if (one := ring.next()) is None else one.tag for _ in range(count))


def test_consumers_take_turns_in_order_of_subscription() -> None:
    ring, _, _ = ring_of(0, 0, 0)
    assert turns(ring, 7) == "0120120"


def test_one_that_cannot_take_is_passed_over_until_it_is_resumed() -> None:
    ring, consumers, channels = ring_of(0, 0, 0)
    channels[1].room = 0
    assert turns(ring, 4) == "0202"
    assert consumers[1].waiting
    channels[1].room = 1000
    assert turns(ring, 2) == "02"
    ring.resume(consumers[1])
    assert sorted(turns(ring, 3)) == ["0", "1", "2"]


def test_nobody_can_take() -> None:
    ring, _, channels = ring_of(0, 0)
    for channel in channels:
        channel.room = 0
    assert turns(ring, 2) == "--"


def test_a_lower_priority_gets_its_turn_only_while_the_higher_ones_wait() -> None:
    ring, consumers, channels = ring_of(0, 5, 5)
    assert turns(ring, 4) == "1212"
    channels[1].room = channels[2].room = 0
    assert turns(ring, 2) == "00"
    channels[2].room = 1000
    ring.resume(consumers[2])
    assert turns(ring, 2) == "22"


def test_resuming_twice_gives_one_turn() -> None:
    ring, consumers, channels = ring_of(0, 0)
    channels[0].room = 0
    turns(ring, 2)
    channels[0].room = 1000
    ring.resume(consumers[0])
    ring.resume(consumers[0])
    assert sorted(turns(ring, 4)) == ["0", "0", "1", "1"]


def test_a_removed_consumer_gets_no_turn_waiting_or_not() -> None:
    ring, consumers, channels = ring_of(0, 0, 0)
    channels[0].room = 0
    turns(ring, 1)
    ring.remove(consumers[0])
    ring.remove(consumers[2])
    assert turns(ring, 2) == "11"
    assert ring.all == [consumers[1]]


def test_a_cancelled_consumer_is_not_resumed() -> None:
    ring, consumers, channels = ring_of(0)
    channels[0].room = 0
    turns(ring, 1)
    consumers[0].cancelled = True
    channels[0].room = 1
    ring.resume(consumers[0])
    assert turns(ring, 1) == "-"


def test_priorities_that_nobody_has_any_more_leave_nothing_behind() -> None:
    ring, consumers, _ = ring_of(*range(20))
    for one in consumers[1:]:
        ring.remove(one)
    assert len(ring.rounds) == 1


def test_removal_does_not_skip_whose_turn_it_is() -> None:
    ring, consumers, _ = ring_of(0, 0, 0)
    assert turns(ring, 1) == "0"
    ring.remove(consumers[0])
    assert turns(ring, 3) == "121"


def test_nobody_is_the_active_one_where_all_are() -> None:
    ring, _, _ = ring_of(0, 0)
    assert ring.active() is None
