"""Confirms: the runs by themselves, and what a publisher hears of the disk."""

from __future__ import annotations

from amqpd.broker.message import Message
from amqpd.broker.queue import Consumer, Queue
from amqpd.broker.shard import Shard
from amqpd.session.confirms import Confirms
from amqpd.wire.outbox import Outbox
from amqpd.wire.table import Table
from interop.conformance.codec import decode_method
from tests.support.linked import Linked, LinkedClient, Received, publication

PERSISTENT = {"delivery_mode": 2}


class FullQueue(Queue):
    """Refuses every message."""

    def publish(self, message: Message) -> bool:
        return False

    def consumers(self) -> list[Consumer]:
        return []

    def message_count(self) -> int:
        return 0


def with_full_queues(linked: Linked) -> None:
    """Queues whose names begin with ``full`` refuse every message."""
    types = linked.broker.registry.queue_types
    classic = types["classic"]

    def make(
        shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> Queue:
        kind = FullQueue if name.startswith("full") else classic
        return kind(shard, vhost, name, durable, auto_delete, owner, arguments)

    types["classic"] = make


def answers(confirms: Confirms, committed: int) -> list[tuple[str, int, bool]]:
    """What ``release`` writes: name, delivery tag, multiple."""
    outbox = Outbox([], 1 << 20)
    confirms.release(committed, outbox, 1)
    data = outbox.take()
    frames = [data[at + 7 : at + 20] for at in range(0, len(data), 21)]
    decoded = [decode_method(frame) for frame in frames]
    return [(method.name, values["delivery_tag"], values["multiple"]) for method, values in decoded]


def told(client: LinkedClient) -> list[tuple[str, int, bool]]:
    return [_answer(came) for came in client.received()]


def _answer(came: Received) -> tuple[str, int, bool]:
    return came.name, came.values["delivery_tag"], came.values["multiple"]


# The runs


def test_publishes_of_one_batch_are_acked_at_once() -> None:
    confirms = Confirms()
    for _ in range(3):
        confirms.add(1, False)
    assert answers(confirms, 0) == []
    assert confirms.waits()
    assert answers(confirms, 1) == [("basic.ack", 3, True)]
    assert not confirms.waits()


def test_one_publish_is_acked_without_multiple() -> None:
    confirms = Confirms()
    confirms.add(1, False)
    assert answers(confirms, 1) == [("basic.ack", 1, False)]
    confirms.add(2, False)
    assert answers(confirms, 2) == [("basic.ack", 2, False)]


def test_publish_that_needs_no_disk_waits_for_those_before_it() -> None:
    confirms = Confirms()
    confirms.add(4, False)
    confirms.add(0, False)
    assert answers(confirms, 3) == []
    assert answers(confirms, 4) == [("basic.ack", 2, True)]


def test_later_batch_does_not_hold_up_an_earlier_one() -> None:
    confirms = Confirms()
    confirms.add(1, False)
    confirms.add(2, False)
    assert answers(confirms, 1) == [("basic.ack", 1, False)]
    assert answers(confirms, 2) == [("basic.ack", 2, False)]


def test_refused_publish_is_nacked_in_its_place() -> None:
    confirms = Confirms()
    for refused in (False, False, True, True, False):
        confirms.add(0, refused)
    assert answers(confirms, 0) == [
        ("basic.ack", 2, True),
        ("basic.nack", 3, False),
        ("basic.nack", 4, False),
        ("basic.ack", 5, False),
    ]


def test_refused_publish_waits_for_those_before_it() -> None:
    confirms = Confirms()
    confirms.add(7, False)
    confirms.add(0, True)
    assert answers(confirms, 6) == []
    assert answers(confirms, 7) == [("basic.ack", 1, False), ("basic.nack", 2, False)]


def test_batches_that_became_durable_together_are_one_ack() -> None:
    confirms = Confirms()
    for batch in (1, 2, 3):
        confirms.add(batch, False)
    assert answers(confirms, 3) == [("basic.ack", 3, True)]


# On a channel


def test_transient_publish_is_confirmed_in_the_same_turn(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("confirm.select")
    client.publish("", "q", b"x")
    assert told(client) == [("basic.ack", 1, False)]


def test_persistent_publish_to_a_transient_queue_is_confirmed_in_the_same_turn(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("confirm.select")
    client.publish("", "q", b"x", PERSISTENT)
    assert told(client) == [("basic.ack", 1, False)]


def test_persistent_publish_is_confirmed_when_its_batch_is_on_disk(linked: Linked, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("confirm.select")
    client.publish("", "q", b"x", PERSISTENT)
    linked.take()
    assert told(client) == []
    linked.write()
    assert told(client) == [("basic.ack", 1, False)]


def test_publish_after_a_batch_was_sealed_waits_for_the_next(linked: Linked, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("confirm.select")
    client.publish("", "q", b"1", PERSISTENT)
    linked.take()
    client.publish("", "q", b"2", PERSISTENT)
    linked.write()
    assert told(client) == [("basic.ack", 1, False)]
    linked.commit()
    assert told(client) == [("basic.ack", 2, False)]


def test_publish_acked_before_it_was_written_is_confirmed_without_the_disk(
    linked: Linked, client: LinkedClient
) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("basic.consume", queue="q", no_ack=True)
    client.call("confirm.select")
    client.publish("", "q", b"x", PERSISTENT)
    assert linked.take() is None
    assert client.names() == ["basic.deliver", "basic.ack"]


def test_confirms_keep_coming_after_a_batch_with_nothing_to_write(linked: Linked, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.declare", queue="kept", durable=True)
    client.call("basic.consume", queue="q", no_ack=True)
    client.call("confirm.select")
    client.publish("", "q", b"x", PERSISTENT)
    assert linked.take() is None
    client.received()
    client.publish("", "kept", b"x", PERSISTENT)
    linked.commit()
    assert told(client) == [("basic.ack", 2, False)]


def test_return_comes_before_the_confirm(client: LinkedClient) -> None:
    client.call("confirm.select")
    client.publish("", "nowhere", b"x", mandatory=True)
    returned, confirmed = client.received()
    assert (returned.name, returned.body, returned.values["reply_code"]) == ("basic.return", b"x", 312)
    assert _answer(confirmed) == ("basic.ack", 1, False)


def test_publish_a_queue_refuses_is_nacked_though_another_took_it(linked: Linked, client: LinkedClient) -> None:
    with_full_queues(linked)
    for queue in ("full", "q"):
        client.call("queue.declare", queue=queue)
        client.call("queue.bind", queue=queue, exchange="amq.fanout")
    client.call("confirm.select")
    client.feed(publication("amq.fanout", "", b"1") + publication("", "q", b"2"))
    assert told(client) == [("basic.nack", 1, False), ("basic.ack", 2, False)]
    assert client.call("queue.declare", queue="q", passive=True)["message_count"] == 2


def test_refused_publish_makes_the_commit_partial(linked: Linked, client: LinkedClient) -> None:
    with_full_queues(linked)
    for queue in ("full", "q"):
        client.call("queue.declare", queue=queue)
    client.call("tx.select")
    client.feed(publication("", "full", b"1") + publication("", "q", b"2"))
    client.send("tx.commit")
    close = client.expect("channel.close").values
    assert (close["reply_code"], close["reply_text"]) == (406, "PRECONDITION_FAILED - partial tx completion")
    assert (close["class_id"], close["method_id"]) == (90, 20)
    client.call("channel.open", on=2)
    assert client.call("queue.declare", on=2, queue="q", passive=True)["message_count"] == 1


def test_no_confirm_follows_a_channel_close(linked: Linked, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", durable=True)
    client.call("confirm.select")
    client.publish("", "q", b"x", PERSISTENT)
    client.send("queue.declare", queue="nosuch", passive=True)
    client.expect("channel.close")
    linked.commit()
    assert client.names() == []
