"""Single active consumer: who is active, and who takes over."""

from __future__ import annotations

import pytest

from amqpd.broker.queue import Consumer
from amqpd.queues.single_active import SingleActive
from tests.queues.building import Bench, FakeChannel, consumer


def ring_of(*priorities: int, takes_over: bool = False) -> tuple[SingleActive, list[Consumer], FakeChannel]:
    """Consumers with the tags ``0``, ``1`` ... on one channel."""
    queue = Bench().queue()
    channel = FakeChannel()
    ring = SingleActive(takes_over)
    consumers = [consumer(queue, channel, str(at), priority=priority) for at, priority in enumerate(priorities)]
    for one in consumers:
        ring.add(one)
    return ring, consumers, channel


def turns(ring: SingleActive, count: int) -> str:
    return "".join("-" if (one := ring.next()) is None else one.tag for _ in range(count))


def test_the_first_one_that_subscribed_gets_everything() -> None:
    ring, consumers, _ = ring_of(0, 0, 0)
    assert turns(ring, 3) == "000"
    assert ring.active() is consumers[0]
    assert ring.all == consumers


def test_nobody_gets_anything_while_the_active_one_cannot_take_it() -> None:
    ring, consumers, channel = ring_of(0, 0)
    channel.room = 0
    assert turns(ring, 2) == "--"
    channel.room = 1
    assert turns(ring, 1) == "-"
    ring.resume(consumers[0])
    assert turns(ring, 1) == "0"


def test_when_it_ends_the_next_in_order_of_subscription_takes_over() -> None:
    ring, consumers, _ = ring_of(0, 0, 0)
    ring.remove(consumers[0])
    assert turns(ring, 2) == "11"
    ring.remove(consumers[2])
    assert ring.active() is consumers[1]
    ring.remove(consumers[1])
    assert ring.active() is None
    assert turns(ring, 1) == "-"


def test_of_those_that_could_take_over_the_highest_priority_does() -> None:
    ring, consumers, _ = ring_of(1, 5, 9, 9)
    assert turns(ring, 1) == "0"
    ring.remove(consumers[0])
    assert turns(ring, 1) == "2"


@pytest.mark.parametrize("takes_over", [False, True])
def test_a_waiting_one_that_ends_leaves_nothing_behind(takes_over: bool) -> None:
    ring, consumers, channel = ring_of(0, 0, takes_over=takes_over)
    channel.room = 0
    assert turns(ring, 1) == "-"
    ring.remove(consumers[0])
    channel.room = 5
    assert turns(ring, 1) == "1"


def test_a_higher_priority_takes_over_at_once_where_nothing_is_in_flight() -> None:
    ring, consumers, _ = ring_of(0, 5, takes_over=True)
    assert turns(ring, 1) == "1"
    assert ring.active() is consumers[1]


def test_a_higher_priority_waits_for_what_is_in_flight_and_so_does_everybody() -> None:
    ring, consumers, channel = ring_of(0, takes_over=True)
    assert turns(ring, 1) == "0"
    consumers[0].unacked = 2
    heir = consumer(consumers[0].queue, channel, "heir", priority=1)
    ring.add(heir)
    assert turns(ring, 1) == "-"
    consumers[0].unacked = 1
    ring.resume(consumers[0])
    assert turns(ring, 1) == "-"
    consumers[0].unacked = 0
    ring.resume(consumers[0])
    assert turns(ring, 1) == "heir"
    # The one before is next in line again.
    ring.remove(heir)
    assert turns(ring, 1) == "0"


def test_an_heir_that_ends_leaves_the_active_one_as_it_was() -> None:
    ring, consumers, channel = ring_of(0, takes_over=True)
    consumers[0].unacked = 1
    heir = consumer(consumers[0].queue, channel, "heir", priority=1)
    ring.add(heir)
    assert turns(ring, 1) == "-"
    ring.remove(heir)
    assert turns(ring, 1) == "0"


def test_a_cancelled_one_is_not_resumed() -> None:
    ring, consumers, channel = ring_of(0)
    channel.room = 0
    turns(ring, 1)
    consumers[0].cancelled = True
    channel.room = 1
    ring.resume(consumers[0])
    assert turns(ring, 1) == "-"
