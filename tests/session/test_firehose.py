"""The firehose over a whole broker: what is copied, when, and with which headers.

That they are RabbitMQ's, interop/conformance/test_firehose.py shows.
"""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.broker.vhost import TRACE
from amqpd.store.memory import MemoryStore
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient, Received, publication

NODE = "amqpd@localhost"


@pytest.fixture
def linked() -> Linked:
    linked = Linked()
    linked.broker.vhosts["/"].tracing = True
    return linked


@pytest.fixture
def watcher(linked: Linked) -> LinkedClient:
    watcher = linked.client()
    watcher.call("queue.declare", queue="traces")
    watcher.call("queue.bind", queue="traces", exchange=TRACE, routing_key="#")
    watcher.call("basic.consume", queue="traces", consumer_tag="w", no_ack=True)
    return watcher


@pytest.fixture
def client(watcher: LinkedClient) -> LinkedClient:
    client = watcher.linked.client()
    client.call("queue.declare", queue="q")
    return client


def traces(watcher: LinkedClient) -> list[tuple[str, dict[str, Any], bytes]]:
    """Key, headers and body of what came; nothing but headers is in its properties."""
    watcher.linked.settle()
    came = watcher.received()
    assert {tuple(one.properties) for one in came} <= {("headers",)}
    return [(one.values["routing_key"], one.properties["headers"], one.body) for one in came]


def keys(watcher: LinkedClient) -> list[str]:
    return [key for key, _, _ in traces(watcher)]


def got(client: LinkedClient, queue: str = "q", no_ack: bool = True) -> Received:
    client.send("basic.get", queue=queue, no_ack=no_ack)
    return client.expect("basic.get-ok")


def test_a_publish_and_its_delivery_are_copied(watcher: LinkedClient, client: LinkedClient) -> None:
    client.publish("", "q", b"body", {"content_type": "text/plain", "priority": 3, "headers": {"a": Typed("b", 1)}})
    common = {"exchange_name": "", "routing_keys": ["q"], "node": NODE, "vhost": "/", "channel": 1, "user": "guest"}
    common |= {"properties": {"content_type": "text/plain", "priority": 3, "headers": {"a": 1}}}
    name = client.connection.name
    assert traces(watcher) == [("publish.", {**common, "connection": name, "routed_queues": ["q"]}, b"body")]
    client.call("basic.consume", queue="q", consumer_tag="t", no_ack=True)
    assert traces(watcher) == [("deliver.q", {**common, "connection": name, "redelivered": 0}, b"body")]


def test_a_message_that_is_got_is_copied_and_says_whether_again(watcher: LinkedClient, client: LinkedClient) -> None:
    client.publish("", "q", b"body")
    tag = got(client, no_ack=False).values["delivery_tag"]
    client.send("basic.reject", delivery_tag=tag, requeue=True)
    got(client)
    assert [headers.get("redelivered") for _, headers, _ in traces(watcher)] == [None, 0, 1]


def test_nothing_is_noted_of_a_vhost_that_is_not_traced(linked: Linked, watcher: LinkedClient) -> None:
    linked.broker.create_vhost("other")
    linked.users.set_permissions("guest", "other", ".*", ".*", ".*")
    client = linked.client(vhost="other")
    linked.commit()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", no_ack=True)
    client.publish("", "q", b"body")
    assert traces(watcher) == []
    linked.broker.vhosts["/"].tracing = False
    here = linked.client()
    here.call("queue.declare", queue="q")
    here.publish("", "q", b"body")
    got(here)
    assert traces(watcher) == []


def test_traces_are_not_traced_but_other_messages_of_the_broker_are_when_delivered(
    watcher: LinkedClient, client: LinkedClient
) -> None:
    client.call("queue.declare", queue="dead")
    client.call(
        "queue.declare",
        queue="short",
        arguments={"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    )
    client.call("queue.bind", queue="q", exchange=TRACE, routing_key="publish.#")
    client.publish("", "short", b"late")
    client.call("basic.consume", queue="dead", consumer_tag="t", no_ack=True)
    got(watcher.linked.client())
    assert keys(watcher) == ["publish.", "deliver.dead"]


def test_keys_of_cc_and_bcc_are_shown_but_bcc_to_no_consumer(watcher: LinkedClient, client: LinkedClient) -> None:
    client.publish("", "nowhere", b"body", {"headers": {"CC": ["q", "no"], "BCC": ["q2"]}})
    got(client)
    (_, published, _), (_, delivered, _) = traces(watcher)
    assert published["routing_keys"] == ["nowhere", "q", "no", "q2"]
    assert published["routed_queues"] == ["q"]
    assert delivered["routing_keys"] == ["nowhere", "q", "no"]
    assert published["properties"] == delivered["properties"] == {"headers": {"CC": ["q", "no"]}}


def test_an_unroutable_message_is_traced_and_returned(watcher: LinkedClient, client: LinkedClient) -> None:
    client.publish("", "nowhere", b"body", mandatory=True)
    client.expect("basic.return")
    ((key, headers, _),) = traces(watcher)
    assert (key, headers["routed_queues"]) == ("publish.", [])


def test_nothing_is_noted_while_nothing_is_bound(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.connection.receive_data(publication("", "q", b"body"))
    assert not linked.broker.shard.traces
    client.call("queue.bind", queue="q", exchange=TRACE, routing_key="nothing.of.the.kind")
    client.connection.receive_data(publication("", "q", b"body"))
    assert len(linked.broker.shard.traces) == 1


def test_a_publish_in_a_transaction_is_traced_once_whatever_becomes_of_it(
    watcher: LinkedClient, client: LinkedClient
) -> None:
    client.call("tx.select")
    client.publish("", "q", b"body")
    assert keys(watcher) == ["publish."]
    client.call("tx.rollback")
    client.publish("", "q", b"body")
    client.call("tx.commit")
    assert keys(watcher) == ["publish."]


def test_direct_replies_are_traced_when_published_only(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="t", no_ack=True)
    client.publish("", "q", b"request", {"reply_to": "amq.rabbitmq.reply-to"})
    reply_to = got(client).properties["reply_to"]
    client.publish("", reply_to, b"reply")
    client.expect("basic.deliver")
    came = traces(watcher)
    assert [key for key, _, _ in came] == ["publish.", "deliver.q", "publish."]
    assert came[0][1]["properties"] == {"reply_to": reply_to}
    assert came[2][1]["routed_queues"] == []


def test_a_quorum_queue_shows_the_count_it_delivers(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("queue.declare", queue="qq", durable=True, arguments={"x-queue-type": "quorum"})
    client.publish("", "qq", b"body")
    tag = got(client, "qq", no_ack=False).values["delivery_tag"]
    client.send("basic.nack", delivery_tag=tag, requeue=True)
    client.call("basic.consume", queue="qq", consumer_tag="t")
    _, (_, first, _), (_, second, _) = traces(watcher)
    assert first["properties"]["headers"] == {"x-delivery-count": 0}
    (delivered,) = client.received()
    assert second["properties"]["headers"] == delivered.properties["headers"]
    assert second["properties"]["headers"]["x-delivery-count"] == 1


def test_a_timestamp_in_milliseconds_keeps_its_value(watcher: LinkedClient, client: LinkedClient) -> None:
    for timestamp in (5, 1_700_000_000_000, (1 << 64) - 1):
        client.publish("", "q", b"body", {"timestamp": timestamp})
    shown = [headers["properties"]["timestamp"] for _, headers, _ in traces(watcher)]
    assert shown == [5, 1_700_000_000_000, (1 << 63) - 1]


def test_headers_as_deep_as_tables_may_be_leave_a_trace_without_them(
    watcher: LinkedClient, client: LinkedClient
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(63):
        deep = {"k": deep}
    client.publish("", "q", b"body", {"headers": deep, "app_id": "a"})
    ((_, headers, body),) = traces(watcher)
    assert (headers["properties"], body) == ({"app_id": "a"}, b"body")
    assert got(client).properties["headers"] == deep


def test_a_key_is_cut_where_a_queues_name_is_as_long_as_names_may_be(
    watcher: LinkedClient, client: LinkedClient
) -> None:
    name = "ü" * 127
    client.call("queue.declare", queue=name)
    client.publish("", name, b"body")
    got(client, name)
    assert keys(watcher) == ["publish.", "deliver." + "ü" * 123]


def test_what_a_connection_did_is_traced_though_it_ends(watcher: LinkedClient, client: LinkedClient) -> None:
    client.connection.receive_data(publication("", "q", b"body"))
    client.connection.lost("gone before the turn")
    watcher.linked.turn()
    ((_, headers, _),) = traces(watcher)
    assert (headers["user"], headers["connection"]) == ("guest", client.connection.name)


def test_a_vhost_that_is_deleted_ends_its_traces(linked: Linked, watcher: LinkedClient, client: LinkedClient) -> None:
    client.connection.receive_data(publication("", "q", b"body"))
    assert linked.broker.shard.traces
    linked.broker.delete_vhost("/")
    linked.turn()
    assert not linked.broker.shard.traces


def test_tracing_is_off_after_a_restart(linked: Linked) -> None:
    linked.broker.describe_vhost(linked.broker.vhosts["/"], "described", "", "{}")
    linked.settle()
    linked.stop()
    assert isinstance(linked.store, MemoryStore)
    vhost = Linked(MemoryStore(linked.store.disk)).broker.vhosts["/"]
    assert (vhost.description, vhost.tracing) == ("described", False)
