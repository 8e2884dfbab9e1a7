"""Length limits, through a linked client."""

from __future__ import annotations

import pytest

from amqpd.queues.classic import PUMP_MAX
from tests.support.linked import Linked, LinkedClient, method, publication


def limited(client: LinkedClient, **arguments: object) -> None:
    client.call("queue.declare", queue="q", arguments=arguments)
    client.call("confirm.select")


def bodies(client: LinkedClient) -> list[bytes]:
    """Every ready message, taken by basic.get."""
    found: list[bytes] = []
    while True:
        client.send("basic.get", queue="q", no_ack=True)
        (got,) = client.received()
        if got.name != "basic.get-ok":
            return found
        found.append(got.body)


def test_drop_head_keeps_the_newest_and_acks_the_publisher() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 2})
    for number in range(5):
        client.publish("", "q", b"%d" % number)
    assert set(client.names()) == {"basic.ack"}
    assert bodies(client) == [b"3", b"4"]


def test_a_limit_in_octets_counts_bodies() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length-bytes": 10})
    for body in (b"aaaa", b"bbbb", b"cccc"):
        client.publish("", "q", body)
    client.received()
    assert bodies(client) == [b"bbbb", b"cccc"]


def test_reject_publish_keeps_the_oldest_and_nacks_the_publisher() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    client.publish("", "q", b"first")
    client.publish("", "q", b"second")
    assert client.names() == ["basic.ack", "basic.nack"]
    assert bodies(client) == [b"first"]


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish"])
def test_a_limit_of_0_delivers_to_waiting_consumers_only(overflow: str) -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 0, "x-overflow": overflow})
    client.publish("", "q", b"lost")
    client.received()
    assert bodies(client) == []


def test_messages_in_flight_do_not_count_and_a_requeue_over_the_limit_drops_the_head() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 1})
    client.publish("", "q", b"in flight")
    client.received()
    client.send("basic.get", queue="q")
    tag = client.expect("basic.get-ok").values["delivery_tag"]
    client.publish("", "q", b"ready")
    client.received()
    client.send("basic.nack", delivery_tag=tag, requeue=True)
    client.received()
    assert bodies(client) == [b"ready"]


def test_dropped_persistent_messages_leave_the_store_too() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 1})
    for number in range(3):
        client.publish("", "q", b"%d" % number, {"delivery_mode": 2})
        linked.commit()
    (row,) = linked.store.reader().summary().queues
    assert (row.messages, row.bytes) == (1, 1)


def test_both_limits_hold() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 3, "x-max-length-bytes": 10})
    for body in (b"1", b"2", b"3", b"4", b"123456789"):
        client.publish("", "q", body)
    client.received()
    assert bodies(client) == [b"4", b"123456789"]


def test_a_limit_in_octets_refuses_what_does_not_fit() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length-bytes": 5, "x-overflow": "reject-publish"})
    for body in (b"aaa", b"bbb", b"cc", b""):
        client.publish("", "q", body)
    assert client.names() == ["basic.ack", "basic.nack", "basic.ack", "basic.ack"]
    assert bodies(client) == [b"aaa", b"cc", b""]


def test_a_message_larger_than_the_limit_pushes_out_everything_and_itself() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length-bytes": 5})
    for body in (b"a", b"b", b"123456"):
        client.publish("", "q", body)
    assert set(client.names()) == {"basic.ack"}
    assert bodies(client) == []


def test_a_limit_of_0_octets_keeps_empty_messages() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length-bytes": 0})
    client.publish("", "q", b"")
    client.publish("", "q", b"")
    client.received()
    assert bodies(client) == [b"", b""]


@pytest.mark.parametrize("limit", ["x-max-length", "x-max-length-bytes"])
def test_a_waiting_consumer_gets_what_a_limit_of_0_does_not_keep(limit: str) -> None:
    client = Linked().client()
    limited(client, **{limit: 0})
    client.call("basic.consume", queue="q", no_ack=True)
    client.publish("", "q", b"x")
    assert sorted(client.names()) == ["basic.ack", "basic.deliver"]


def test_a_consumer_that_takes_what_is_there_makes_room_for_the_next_in_the_same_input() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    client.call("basic.consume", queue="q", no_ack=True)
    client.feed(b"".join([publication("", "q", b"%d" % number) for number in range(5)]))
    assert client.names().count("basic.nack") == 0


def dead_letters_of(client: LinkedClient, **arguments: object) -> None:
    limited(client, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", **arguments})
    client.call("queue.declare", queue="dead")


def deaths(client: LinkedClient) -> list[tuple[bytes, str]]:
    """Body and reason of all dead letters."""
    found: list[tuple[bytes, str]] = []
    while True:
        client.send("basic.get", queue="dead", no_ack=True)
        (got,) = client.received()
        if got.name != "basic.get-ok":
            return found
        found.append((got.body, got.properties["headers"]["x-death"][0]["reason"]))


def test_the_head_that_is_dropped_becomes_a_dead_letter() -> None:
    client = Linked().client()
    dead_letters_of(client, **{"x-max-length": 1})
    for body in (b"1", b"2", b"3"):
        client.publish("", "q", body)
    assert set(client.names()) == {"basic.ack"}
    assert deaths(client) == [(b"1", "maxlen"), (b"2", "maxlen")]
    assert bodies(client) == [b"3"]


def test_what_reject_publish_refuses_becomes_no_dead_letter() -> None:
    client = Linked().client()
    dead_letters_of(client, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    assert client.names() == ["basic.ack", "basic.nack"]
    assert deaths(client) == []


def test_what_reject_publish_dlx_refuses_becomes_a_dead_letter_and_is_nacked() -> None:
    client = Linked().client()
    dead_letters_of(client, **{"x-max-length": 1, "x-overflow": "reject-publish-dlx"})
    client.publish("", "q", b"1")
    client.publish("", "q", b"2", {"delivery_mode": 2})
    assert client.names() == ["basic.ack", "basic.nack"]
    assert deaths(client) == [(b"2", "maxlen")]
    assert bodies(client) == [b"1"]


def test_reject_publish_dlx_without_an_exchange_only_refuses() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 0, "x-overflow": "reject-publish-dlx"})
    client.publish("", "q", b"1")
    assert client.names() == ["basic.nack"]
    assert client.linked.broker.shard.letters == []


def test_a_message_refused_by_one_of_its_queues_is_kept_by_the_others_and_dead_lettered_once() -> None:
    linked = Linked()
    client = linked.client()
    dead_letters_of(client, **{"x-max-length": 0, "x-overflow": "reject-publish-dlx"})
    client.call("queue.declare", queue="other", durable=True)
    client.call("exchange.declare", exchange="both", type="fanout")
    for queue in ("q", "other"):
        client.call("queue.bind", queue=queue, exchange="both")
    client.publish("both", "", b"x", {"delivery_mode": 2})
    linked.commit()
    assert client.names() == ["basic.nack"]
    assert deaths(client) == [(b"x", "maxlen")]
    (row,) = [row for row in linked.reader.summary().queues if row.messages]
    assert row.queue == linked.broker.vhosts["/"].queues["other"].id


def reconfigured(linked: Linked, **settings: int | str) -> None:
    """What a policy does."""
    queue = linked.broker.vhosts["/"].queues["q"]
    queue.settings = {name.replace("_", "-"): value for name, value in settings.items()}
    queue.reconfigure(linked.broker.registry.queue_features)
    linked.turn()


def test_a_limit_that_is_lowered_holds_at_once_and_one_that_is_taken_away_no_more() -> None:
    client = Linked().client()
    limited(client)
    for number in range(5):
        client.publish("", "q", b"%d" % number)
    client.received()
    reconfigured(client.linked, max_length=3)
    assert client.call("queue.declare", queue="q", passive=True)["message_count"] == 3
    reconfigured(client.linked)
    client.publish("", "q", b"5")
    client.received()
    assert bodies(client) == [b"2", b"3", b"4", b"5"]


def test_a_lower_limit_of_a_refusing_queue_drops_nothing() -> None:
    client = Linked().client()
    limited(client)
    for number in range(3):
        client.publish("", "q", b"%d" % number)
    client.received()
    reconfigured(client.linked, max_length=1, overflow="reject-publish")
    client.publish("", "q", b"3")
    assert client.names() == ["basic.nack"]
    assert bodies(client) == [b"0", b"1", b"2"]


def test_nothing_is_dropped_while_consumers_still_take() -> None:
    """A pump delivers so many and goes on in the next turn: the rest is not over the limit until then."""
    linked = Linked()
    client = linked.client()
    limited(client)
    client.feed(b"".join([publication("", "q", b"%d" % number) for number in range(PUMP_MAX + 5)]))
    client.received()
    queue = linked.broker.vhosts["/"].queues["q"]
    queue.settings = {"max-length": 2}
    queue.reconfigure(linked.broker.registry.queue_features)
    client.feed(method("basic.consume", queue="q", no_ack=True))
    assert client.names().count("basic.deliver") == PUMP_MAX + 5


def test_heads_that_are_dropped_wait_while_too_many_dead_letters_do() -> None:
    linked = Linked()
    client = linked.client()
    dead_letters_of(client)
    for number in range(5):
        client.publish("", "q", b"%d" % number)
    journal = linked.broker.journal
    journal.open_bytes = journal.open_bytes_max + 1
    queue = linked.broker.vhosts["/"].queues["q"]
    queue.settings = {**queue.settings, "max-length": 1}
    queue.reconfigure(linked.broker.registry.queue_features)
    linked.broker.run_turn()
    assert queue.message_count() == 5
    assert not linked.broker.busy()
    journal.open_bytes = 0
    linked.advance(20)
    assert queue.message_count() == 1
    client.received()
    assert [body for body, _ in deaths(client)] == [b"0", b"1", b"2", b"3"]


def test_a_paged_queue_is_brought_to_its_limit_page_by_page() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True)
    shard = linked.broker.shard
    shard.window_bytes_min = shard.window_bytes_max = 900
    shard.page_messages, shard.page_bytes, shard.page_low = 3, 4096, 900
    for number in range(30):
        client.publish("", "q", b"%03d" % number, {"delivery_mode": 2})
    linked.settle()
    reconfigured(linked, max_length=2)
    linked.settle()
    assert linked.broker.vhosts["/"].queues["q"].message_count() == 2
    (row,) = linked.reader.summary().queues
    assert (row.messages, row.bytes) == (2, 6)


def test_a_get_in_the_same_input_does_not_see_what_is_over_the_limit() -> None:
    client = Linked().client()
    client.call("queue.declare", queue="q", arguments={"x-max-length": 2})
    publishes = b"".join([publication("", "q", b"%d" % number) for number in range(4)])
    client.feed(publishes + method("basic.get", queue="q", no_ack=True))
    got = client.expect("basic.get-ok")
    assert (got.body, got.values["message_count"]) == (b"2", 1)
