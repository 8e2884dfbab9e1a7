"""The delivery acknowledgement timeout, on a client's channel and a fake clock."""

from __future__ import annotations

import random
from typing import Any

import pytest

from amqpd.session import ack_timeout
from tests.support.linked import Linked, LinkedClient

TEXT = (
    "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1000 ms. "
    "This timeout value can be configured, see consumers doc guide to learn more"
)


def consuming(
    linked: Linked, timeout: int | None = 1000, messages: int = 1, prefetch: int = 0, **steps: Any
) -> LinkedClient:
    """A consumer ``t`` of a queue ``q`` with ``messages`` in flight."""
    client = linked.client(2, **steps)
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=prefetch)
    arguments = {} if timeout is None else {"x-consumer-timeout": timeout}
    client.call("basic.consume", queue="q", consumer_tag="t", arguments=arguments)
    for number in range(messages):
        client.publish("", "q", b"%d" % number)
        client.expect("basic.deliver")
    return client


def set_timeout(linked: Linked, milliseconds: int) -> None:
    """As a policy does."""
    queue = linked.broker.vhosts["/"].queues["q"]
    queue.settings = {"consumer-timeout": milliseconds}
    queue.reconfigure(linked.broker.registry.queue_features)


def ready(linked: Linked) -> int:
    return linked.broker.vhosts["/"].queues["q"].message_count()


def test_overdue_messages_go_back_and_the_consumer_hears_that_it_is_cancelled() -> None:
    linked = Linked()
    client = consuming(linked, messages=2)
    linked.advance(999)
    assert (client.received(), ready(linked)) == ([], 0)
    linked.advance(101)
    (cancel,) = client.received()
    assert (cancel.name, cancel.values) == ("basic.cancel", {"consumer_tag": "t", "no_wait": True})
    assert ready(linked) == 2
    client.send("basic.get", queue="q")
    got = client.expect("basic.get-ok")
    assert (got.body, got.values["redelivered"]) == (b"0", True)
    assert not linked.broker.vhosts["/"].queues["q"].consumers()


def test_the_cancel_may_be_answered_and_its_tag_used_again() -> None:
    client = consuming(linked := Linked())
    linked.advance(1100)
    client.expect("basic.cancel")
    client.send("basic.cancel-ok", consumer_tag="t")
    client.call("basic.consume", queue="q", consumer_tag="t")
    assert client.bodies() == [b"0"]


def test_another_consumer_of_the_queue_takes_over() -> None:
    linked = Linked()
    consuming(linked)
    other = linked.client()
    other.call("basic.consume", queue="q", consumer_tag="other")
    linked.advance(1100)
    assert other.bodies() == [b"0"]


def test_what_is_acknowledged_in_time_is_no_concern() -> None:
    linked = Linked()
    client = consuming(linked, messages=2)
    linked.advance(500)
    client.send("basic.ack", delivery_tag=2, multiple=True)
    linked.advance(5000)
    assert client.received() == []


def test_only_what_is_overdue_goes_back_and_the_rest_follows_when_its_time_comes() -> None:
    linked = Linked()
    client = consuming(linked)
    linked.advance(500)
    client.publish("", "q", b"later")
    client.expect("basic.deliver")
    linked.advance(600)
    assert client.names() == ["basic.cancel"]
    assert ready(linked) == 1
    linked.advance(500)
    assert (client.received(), ready(linked)) == ([], 2)


@pytest.mark.parametrize("verb", ["basic.ack", "basic.nack", "basic.reject"])
def test_a_settlement_that_comes_too_late_is_ignored_once(verb: str) -> None:
    linked = Linked()
    client = consuming(linked)
    linked.advance(1100)
    client.received()
    client.send(verb, delivery_tag=1)
    assert (client.received(), ready(linked)) == ([], 1)
    client.send(verb, delivery_tag=1)
    assert client.expect("channel.close").values["reply_code"] == 406


def test_a_late_ack_of_many_still_settles_those_that_are_not_overdue() -> None:
    linked = Linked()
    client = consuming(linked, timeout=1000, messages=0)
    client.call("queue.declare", queue="patient")
    client.call("basic.consume", queue="patient", consumer_tag="u")
    client.publish("", "patient", b"early")
    client.publish("", "q", b"overdue")
    client.received()
    linked.advance(1100)
    assert client.names() == ["basic.cancel"]
    client.send("basic.ack", delivery_tag=2, multiple=True)
    assert client.received() == []
    assert (ready(linked), linked.broker.vhosts["/"].queues["patient"].unacked_count()) == (1, 0)


def test_late_tags_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ack_timeout, "LATE_MAX", 1)
    linked = Linked()
    client = consuming(linked, messages=2)
    linked.advance(1100)
    client.received()
    client.send("basic.ack", delivery_tag=2)
    assert client.received() == []
    client.send("basic.ack", delivery_tag=1)
    assert client.expect("channel.close").values["reply_text"] == "PRECONDITION_FAILED - unknown delivery tag 1"


def test_a_client_that_does_not_hear_basic_cancel_loses_the_channel() -> None:
    linked = Linked()
    client = consuming(linked, capabilities={})
    linked.advance(1100)
    close = client.expect("channel.close").values
    assert (close["reply_code"], close["reply_text"]) == (406, TEXT)
    assert (close["class_id"], close["method_id"]) == (0, 0)
    assert ready(linked) == 1
    client.send("channel.close-ok")
    client.call("basic.qos", on=2)  # the connection goes on
    assert not linked.broker.next_deadline()


def test_the_setting_close_brings_back_what_rabbitmq_did() -> None:
    linked = Linked(consumer_timeout_ms=1000, consumer_timeout_closes=True)
    client = consuming(linked, timeout=None)
    linked.advance(1100)
    assert client.expect("channel.close").values["reply_text"] == TEXT


def test_a_message_that_was_got_has_nobody_to_cancel() -> None:
    linked = Linked(consumer_timeout_ms=1000)
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.publish("", "q", b"x")
    client.send("basic.get", queue="q")
    client.expect("basic.get-ok")
    linked.advance(1100)
    assert client.expect("channel.close").values["reply_text"] == TEXT
    assert ready(linked) == 1


def test_messages_of_a_consumer_that_was_cancelled_go_back_in_silence() -> None:
    linked = Linked()
    client = consuming(linked)
    client.call("basic.cancel", consumer_tag="t")
    linked.advance(1100)
    assert (client.received(), ready(linked)) == ([], 1)


@pytest.mark.parametrize(
    ("consumer", "queue", "broker", "wanted"),
    [
        (500, 2000, 3000, 500),
        (2000, 500, 300, 2000),
        (0, 500, 300, None),
        (None, 2000, 1000, 2000),
        (None, 0, 1000, None),
        (None, None, 1000, 1000),
        (None, None, 0, None),
    ],
)
def test_the_consumers_timeout_comes_before_the_queues_and_that_before_the_brokers(
    consumer: int | None, queue: int | None, broker: int, wanted: int | None
) -> None:
    linked = Linked(consumer_timeout_ms=broker)
    client = linked.client()
    client.call("queue.declare", queue="q")
    if queue is not None:
        set_timeout(linked, queue)
    arguments = {} if consumer is None else {"x-consumer-timeout": consumer}
    client.call("basic.consume", queue="q", arguments=arguments)
    client.publish("", "q", b"x")
    client.expect("basic.deliver")
    linked.advance((wanted or 5000) - 1)
    assert client.received() == []
    linked.advance(10_000)
    assert client.names() == ([] if wanted is None else ["basic.cancel"])


def test_a_policy_reaches_running_consumers() -> None:
    linked = Linked()
    client = consuming(linked, timeout=None)
    assert not linked.broker.next_deadline()
    set_timeout(linked, 1000)
    linked.advance(1100)
    assert client.names() == ["basic.cancel"]


def test_a_shorter_policy_reaches_running_consumers_and_a_longer_one_spares_them() -> None:
    linked = Linked(consumer_timeout_ms=1000)
    client = consuming(linked, timeout=None)
    set_timeout(linked, 3000)
    linked.advance(2900)
    assert client.received() == []
    set_timeout(linked, 200)
    linked.advance(300)
    assert client.names() == ["basic.cancel"]


def test_no_timer_runs_where_nothing_can_time_out() -> None:
    linked = Linked()
    client = consuming(linked)
    assert linked.broker.next_deadline()
    client.call("basic.cancel", consumer_tag="t")
    client.send("basic.ack", delivery_tag=1)
    linked.advance(1000)
    assert not linked.broker.next_deadline()


def test_consumers_without_acknowledgement_have_no_timeout() -> None:
    linked = Linked(consumer_timeout_ms=1000)
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", no_ack=True)
    assert not linked.broker.next_deadline()


def test_a_busy_consumer_is_not_disturbed_and_few_notes_are_kept() -> None:
    linked = Linked()
    client = consuming(linked, timeout=1_800_000, messages=0)
    for tag in range(1, 500):
        client.publish("", "q", b"x")
        linked.advance(60_000)
        client.send("basic.ack", delivery_tag=tag)
    assert set(client.names()) == {"basic.deliver"}
    timeouts = client.connection.channels[1].ack_timeouts
    assert timeouts is not None
    assert len(timeouts.watches[1_800_000].notes) <= 32


@pytest.mark.parametrize("seed", range(5))
def test_nothing_goes_back_early_and_nothing_stays_long_after_its_time(seed: int) -> None:
    chance = random.Random(seed)
    linked = Linked()
    client = linked.client()
    unacked = client.connection.channels[1].unacked
    timeouts = {"short": 500, "long": 2000, "none": 0}
    for name in timeouts:
        client.call("queue.declare", queue=name)
    delivered: dict[int, tuple[int, int]] = {}  # by tag: when, and its timeout
    consuming: set[str] = set()

    def look() -> None:
        for came in client.received():
            if came.name == "basic.deliver":
                delivered[came.values["delivery_tag"]] = linked.broker.now, timeouts[came.values["consumer_tag"]]
            elif came.name == "basic.cancel":
                consuming.discard(came.values["consumer_tag"])
            else:
                assert came.name == "basic.consume-ok"

    for _ in range(600):
        for name in sorted(timeouts.keys() - consuming):
            arguments = {"x-consumer-timeout": timeouts[name]}
            client.send("basic.consume", queue=name, consumer_tag=name, arguments=arguments)
            consuming.add(name)
        step = chance.random()
        if step < 0.5:
            client.publish("", chance.choice(list(timeouts)), b"x")
        elif step < 0.6 and unacked.by_tag:
            tag = chance.choice(list(unacked.by_tag))
            client.send("basic.ack", delivery_tag=tag, multiple=chance.random() < 0.3)
        else:
            # By the millisecond: what goes back may be delivered again in between.
            for _ in range(chance.randrange(120)):
                linked.advance(1)
                look()
        look()
        channel = client.connection.channels[1]
        assert channel.ack_timeouts is not None
        late = channel.ack_timeouts.late
        for tag, (when, timeout) in delivered.items():
            kept = linked.broker.now - when
            if tag in late:
                assert timeout
                assert kept >= timeout
            elif tag in unacked.by_tag and timeout:
                assert kept <= timeout + max(timeout // 10, 100)
    assert late


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("1000", '"expected integer, got longstr"'),
        (-1, "{value_negative,-1}"),
        (315360000001, "{value_too_large,315360000001}"),
    ],
)
def test_a_bad_timeout_is_refused(value: object, fault: str) -> None:
    client = Linked().client()
    client.call("queue.declare", queue="q")
    client.send("basic.consume", queue="q", arguments={"x-consumer-timeout": value})
    assert client.expect("channel.close").values["reply_text"] == (
        f"PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': {fault}"
    )
