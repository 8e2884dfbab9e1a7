"""Publisher confirms and transactions (behaviour 1.8)."""

from typing import Any

import pytest

from .client import Channel
from .codec import decode_method
from .conftest import Names

PERSISTENT = {"delivery_mode": 2}


@pytest.fixture
def durable(channel: Channel, name: Names) -> str:
    """A durable queue."""
    return str(channel.call("queue.declare", queue=name("q"), durable=True)["queue"])


def limited(channel: Channel, name: Names, **arguments: Any) -> str:
    """A queue of at most one message that rejects more."""
    limits = {"x-max-length": 1, "x-overflow": "reject-publish", **arguments}
    return str(channel.call("queue.declare", queue=name("q"), arguments=limits)["queue"])


def settlements(channel: Channel, count: int) -> dict[int, str]:
    """For each of the sequence numbers 1..count whether it was acked or nacked, multiples unfolded.

    A number may be settled once only.
    """
    outcome: dict[int, str] = {}
    while len(outcome) < count:
        method, values = decode_method(channel.client.next_frame(channel.number).payload)
        assert method.name in ("basic.ack", "basic.nack"), method.name
        first = 1 if values["multiple"] else values["delivery_tag"]
        covered = [tag for tag in range(first, values["delivery_tag"] + 1) if tag not in outcome]
        assert covered, f"{method.name} {values} settles nothing new"
        outcome.update(dict.fromkeys(covered, method.name))
    return outcome


# confirm


def test_confirm_select_is_idempotent(channel: Channel) -> None:
    assert channel.call("confirm.select") == {}
    assert channel.call("confirm.select") == {}


def test_sequence_starts_with_the_first_publish_after_select(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x")
    channel.call("confirm.select")
    channel.publish("", queue, b"x")
    assert channel.expect("basic.ack") == {"delivery_tag": 1, "multiple": False}
    channel.expect_nothing()


def test_second_select_does_not_restart_the_sequence(channel: Channel, queue: str) -> None:
    channel.call("confirm.select")
    channel.publish("", queue, b"x")
    channel.expect("basic.ack")
    channel.call("confirm.select")
    channel.publish("", queue, b"x")
    assert channel.expect("basic.ack")["delivery_tag"] == 2


def test_every_publish_is_acked_once(channel: Channel, durable: str) -> None:
    channel.call("confirm.select")
    for number in range(500):
        channel.publish("", durable, b"x", PERSISTENT if number % 3 else {})
    assert set(settlements(channel, 500).values()) == {"basic.ack"}
    channel.expect_nothing()


def test_persistent_message_to_several_durable_queues_is_acked_once(channel: Channel, name: Names) -> None:
    exchange = name("e")
    channel.call("exchange.declare", exchange=exchange, type="fanout")
    for _ in range(3):
        queue = channel.call("queue.declare", queue=name("q"), durable=True)["queue"]
        channel.call("queue.bind", queue=queue, exchange=exchange)
    channel.call("confirm.select")
    channel.publish(exchange, "", b"x", PERSISTENT)
    assert channel.expect("basic.ack")["delivery_tag"] == 1
    channel.expect_nothing()


def test_rejected_publish_is_nacked(channel: Channel, name: Names) -> None:
    queue = limited(channel, name)
    channel.call("confirm.select")
    for _ in range(3):
        channel.publish("", queue, b"x")
    assert settlements(channel, 3) == {1: "basic.ack", 2: "basic.nack", 3: "basic.nack"}


def test_publish_is_nacked_if_any_queue_rejects_it(channel: Channel, queue: str, name: Names) -> None:
    full, exchange = limited(channel, name), name("e")
    channel.call("exchange.declare", exchange=exchange, type="fanout")
    for bound in (full, queue):
        channel.call("queue.bind", queue=bound, exchange=exchange)
    channel.call("confirm.select")
    for body in (b"1", b"2"):
        channel.publish(exchange, "", body)
    assert settlements(channel, 2) == {1: "basic.ack", 2: "basic.nack"}
    assert channel.drain(queue) == [b"1", b"2"]


def test_acks_and_nacks_do_not_cover_each_other(channel: Channel, queue: str, name: Names) -> None:
    full = limited(channel, name)
    channel.call("confirm.select")
    channel.publish("", full, b"x")
    for number in range(2, 102):
        channel.publish("", full if number % 2 else queue, b"x")
    outcome = settlements(channel, 101)
    assert outcome == {1: "basic.ack"} | {
        number: "basic.nack" if number % 2 else "basic.ack" for number in range(2, 102)
    }


def test_confirm_on_a_transactional_channel_is_refused(channel: Channel) -> None:
    channel.call("tx.select")
    channel.refused(406, "cannot switch from tx to confirm mode", "confirm.select")


# tx


def test_tx_select_is_idempotent(channel: Channel) -> None:
    assert channel.call("tx.select") == {}
    assert channel.call("tx.select") == {}


def test_tx_on_a_confirm_channel_is_refused(channel: Channel) -> None:
    channel.call("confirm.select")
    channel.refused(406, "cannot switch from confirm to tx mode", "tx.select")


@pytest.mark.parametrize("method", ["tx.commit", "tx.rollback"])
def test_transaction_method_without_select_is_refused(channel: Channel, method: str) -> None:
    channel.refused(406, "channel is not transactional", method)


def test_publishes_appear_at_commit(channel: Channel, other: Channel, queue: str) -> None:
    channel.call("tx.select")
    for body in (b"0", b"1"):
        channel.publish("", queue, body)
    channel.call("basic.qos")
    assert other.count(queue) == (0, 0)
    assert channel.call("tx.commit") == {}
    assert other.drain(queue) == [b"0", b"1"]


def test_acks_take_effect_at_commit(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x")
    worker = channel.client.channel()
    worker.call("tx.select")
    worker.get(queue, no_ack=False)
    worker.send("basic.ack", delivery_tag=1)
    worker.call("tx.commit")
    worker.close()
    assert channel.drain(queue) == []


def test_ack_without_commit_is_undone_by_close(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x")
    worker = channel.client.channel()
    worker.call("tx.select")
    worker.get(queue, no_ack=False)
    worker.send("basic.ack", delivery_tag=1)
    worker.close()
    assert channel.drain(queue) == [b"x"]


def test_rollback_drops_publishes_and_gives_back_tags(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"0")
    channel.call("tx.select")
    channel.get(queue, no_ack=False)
    channel.publish("", queue, b"1")
    channel.send("basic.ack", delivery_tag=1)
    assert channel.call("tx.rollback") == {}
    channel.send("basic.ack", delivery_tag=1)
    channel.call("tx.commit")
    assert channel.drain(queue) == []
    channel.close()
    assert channel.client.channel().drain(queue) == []


def test_rejects_are_transactional_too(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"0")
    channel.call("tx.select")
    channel.get(queue, no_ack=False)
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    assert channel.get(queue) is None
    channel.call("tx.commit")
    assert channel.drain(queue) == [b"0"]


def test_tag_settled_in_the_transaction_is_unknown(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"0")
    channel.call("tx.select")
    channel.get(queue, no_ack=False)
    channel.send("basic.ack", delivery_tag=1)
    channel.refused(406, "unknown delivery tag 1", "basic.ack", delivery_tag=1)


def test_publish_is_checked_before_commit(channel: Channel, vhost: str) -> None:
    channel.call("tx.select")
    channel.publish_refused(404, f"no exchange 'nope' in vhost '{vhost}'", "nope", "k", b"x")


def test_message_is_routed_when_published_not_at_commit(channel: Channel, queue: str) -> None:
    channel.call("tx.select")
    channel.publish("amq.direct", queue, b"before")
    channel.call("queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    channel.publish("amq.direct", queue, b"after")
    channel.call("tx.commit")
    assert channel.drain(queue) == [b"after"]


def test_mandatory_message_is_returned_at_commit(channel: Channel) -> None:
    channel.call("tx.select")
    channel.publish("", "no-such-queue", b"x", mandatory=True)
    channel.expect_nothing()
    channel.send("tx.commit")
    assert channel.message("basic.return").body == b"x"
    channel.expect("tx.commit-ok")


def test_rolled_back_mandatory_message_is_not_returned(channel: Channel) -> None:
    channel.call("tx.select")
    channel.publish("", "no-such-queue", b"x", mandatory=True)
    channel.call("tx.rollback")
    channel.call("tx.commit")
    channel.expect_nothing()


def test_commit_of_a_rejected_publish_is_a_partial_completion(channel: Channel, name: Names) -> None:
    queue = limited(channel, name)
    channel.call("tx.select")
    for _ in range(2):
        channel.publish("", queue, b"x")
    channel.refused(406, "partial tx completion", "tx.commit")


def test_channel_stays_transactional_after_commit(channel: Channel, other: Channel, queue: str) -> None:
    channel.call("tx.select")
    channel.call("tx.commit")
    channel.publish("", queue, b"x")
    channel.call("basic.qos")
    assert other.drain(queue) == []
    channel.call("tx.rollback")
    channel.call("tx.commit")
    assert other.drain(queue) == []
