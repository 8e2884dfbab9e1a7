"""The event exchange over a whole broker with a fake clock: which events, whose doing, with which headers.

That they are RabbitMQ's, interop/conformance/test_events.py shows.
"""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.broker.events import INTERNAL
from amqpd.broker.policies import make_policy
from amqpd.store.memory import MemoryStore
from amqpd_event_exchange import EXCHANGE, register
from tests.support.linked import START_MS, Linked, LinkedClient, Received

ACTOR = "user_who_performed_action"


@pytest.fixture
def linked() -> Linked:
    return Linked(plugins=[register])


@pytest.fixture
def watcher(linked: Linked) -> LinkedClient:
    """A client that consumes everything; what its own set-up caused is read already."""
    return watching(linked, "#")


@pytest.fixture
def client(watcher: LinkedClient) -> LinkedClient:
    """Another one, with an open channel; its coming is read already."""
    client = watcher.linked.client()
    heard(watcher)
    return client


def watching(linked: Linked, key: str) -> LinkedClient:
    watcher = linked.client()
    watcher.call("queue.declare", queue="seen", durable=True)
    watcher.call("queue.bind", queue="seen", exchange=EXCHANGE, routing_key=key)
    watcher.send("basic.consume", queue="seen", consumer_tag="w", no_ack=True)
    heard(watcher)
    return watcher


def heard(watcher: LinkedClient) -> list[Received]:
    watcher.linked.settle()
    return watcher.received()


def names(watcher: LinkedClient) -> list[str]:
    return [came.values["routing_key"] for came in heard(watcher)]


def only(watcher: LinkedClient, name: str) -> dict[str, Any]:
    """The headers of the one event of this name, but the time."""
    (came,) = [came for came in heard(watcher) if came.values["routing_key"] == name]
    headers = dict(came.properties["headers"])
    del headers["timestamp_in_ms"]
    return headers


def test_the_exchange_is_a_durable_internal_topic_exchange_and_stored(linked: Linked) -> None:
    exchange = linked.broker.vhosts["/"].exchanges[EXCHANGE]
    assert (exchange.kind, exchange.durable, exchange.internal) == ("topic", True, True)
    linked.broker.create_vhost("other")
    assert EXCHANGE not in linked.broker.vhosts["other"].exchanges
    linked.settle()
    linked.stop()
    assert isinstance(linked.store, MemoryStore)
    without = Linked(MemoryStore(linked.store.disk))
    assert EXCHANGE in without.broker.vhosts["/"].exchanges


def test_nothing_is_collected_while_nothing_is_bound(linked: Linked) -> None:
    client = linked.client()
    events = linked.broker.events
    assert not events.listening
    client.call("queue.declare", queue="q")
    client.call("queue.bind", queue="q", exchange=EXCHANGE, routing_key="user.*")
    assert events.listening
    client.call("queue.unbind", queue="q", exchange=EXCHANGE, routing_key="user.*")
    assert not events.listening
    assert not events.pending
    client.call("queue.bind", queue="q", exchange=EXCHANGE, routing_key="#")
    client.call("queue.delete", queue="q")
    linked.settle()
    assert not events.listening
    assert not events.pending


def test_an_event_is_a_persistent_message_without_a_body(watcher: LinkedClient, client: LinkedClient) -> None:
    watcher.linked.advance(5)
    client.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 5})
    (came,) = heard(watcher)
    assert (came.values["exchange"], came.values["routing_key"], came.body) == (EXCHANGE, "queue.created", b"")
    now = START_MS + 5
    assert came.properties == {
        "headers": {
            ACTOR: "guest",
            "exclusive": False,
            "owner_pid": "",
            "arguments": ['{<<"x-max-length">>,signedint,5}'],
            "auto_delete": False,
            "durable": True,
            "name": "q",
            "vhost": "/",
            "timestamp_in_ms": now,
        },
        "delivery_mode": 2,
        "timestamp": now // 1000,
    }


def test_events_outlive_a_restart_and_so_does_the_binding(linked: Linked) -> None:
    watcher = watching(linked, "queue.*")
    watcher.hang_up()
    client = linked.client()
    client.call("queue.declare", queue="q")
    linked.settle()
    linked.crash()
    assert isinstance(linked.store, MemoryStore)
    again = Linked(MemoryStore(linked.store.disk), plugins=[register])
    reader = again.client()
    assert reader.call("queue.declare", queue="seen", durable=True)["message_count"] == 1
    reader.call("queue.declare", queue="r")
    assert reader.call("queue.declare", queue="seen", durable=True)["message_count"] == 2


def test_a_binding_key_chooses(linked: Linked) -> None:
    watcher = watching(linked, "*.deleted")
    watcher.call("queue.declare", queue="q")
    watcher.call("queue.delete", queue="q")
    assert names(watcher) == ["queue.deleted"]


def test_topology_comes_and_goes(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="x", type="topic", durable=True)
    client.call("exchange.declare", exchange="x", type="topic", durable=True)
    client.call("queue.declare", queue="q", auto_delete=True)
    client.call("queue.bind", queue="q", exchange="x", routing_key="a")
    client.call("queue.bind", queue="q", exchange="x", routing_key="a")
    client.call("exchange.bind", destination="x", source="amq.fanout", routing_key="b")
    client.call("queue.unbind", queue="q", exchange="x", routing_key="a")
    client.call("exchange.delete", exchange="x")
    client.call("queue.delete", queue="q")
    assert names(watcher) == [
        "exchange.created",
        "queue.created",
        "binding.created",
        "binding.created",
        "binding.deleted",
        "binding.deleted",
        "exchange.deleted",
        "queue.deleted",
    ]


def test_a_consumer_that_loses_its_queue_is_deleted_once(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.call("queue.delete", queue="q")
    assert names(watcher) == ["queue.created", "consumer.created", "consumer.deleted", "queue.deleted"]


def test_a_requester_of_direct_replies_is_no_consumer_to_be_told(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="t", no_ack=True)
    client.call("basic.cancel", consumer_tag="t")
    assert names(watcher) == []


def test_what_the_broker_does_by_itself_is_no_users_doing(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q", auto_delete=True)
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.call("basic.cancel", consumer_tag="t")
    assert only(watcher, "queue.deleted") == {ACTOR: INTERNAL, "name": "q", "vhost": "/"}
    client.call("queue.declare", queue="q", arguments={"x-expires": 100})
    heard(watcher)
    watcher.linked.advance(200)
    assert only(watcher, "queue.deleted") == {ACTOR: INTERNAL, "name": "q", "vhost": "/"}
    client.call("queue.declare", queue="q", exclusive=True)
    heard(watcher)
    client.hang_up()
    assert only(watcher, "queue.deleted") == {ACTOR: INTERNAL, "name": "q", "vhost": "/"}


def test_a_connection_and_its_channel_are_told_by_the_same_ids(watcher: LinkedClient) -> None:
    client = watcher.linked.client()
    client.call("basic.consume", queue="seen", consumer_tag="t")
    came = {one.values["routing_key"]: one.properties["headers"] for one in heard(watcher)}
    assert list(came) == ["user.authentication.success", "connection.created", "channel.created", "consumer.created"]
    connection, channel = came["connection.created"]["pid"], came["channel.created"]["pid"]
    assert came["channel.created"]["connection"] == connection != channel
    assert came["consumer.created"]["channel"] == channel
    client.send("connection.close", 0)
    gone = [(one.values["routing_key"], one.properties["headers"].get("pid")) for one in heard(watcher)]
    assert gone == [("consumer.deleted", None), ("channel.closed", channel), ("connection.closed", connection)]


def test_a_lost_connection_is_closed_once_and_a_refused_one_never(watcher: LinkedClient) -> None:
    client = watcher.linked.client(0)
    heard(watcher)
    client.hang_up()
    client.hang_up()
    assert names(watcher) == ["connection.closed"]
    stranger = watcher.linked.dial()
    with pytest.raises(AssertionError):
        stranger.connect(password="wrong")
    stranger.hang_up()
    headers = only(watcher, "user.authentication.failure")
    assert (headers["name"], headers["auth_mechanism"]) == ("guest", "PLAIN")
    assert "".join(map(chr, headers["error"])) == "user 'guest' - invalid credentials"


def test_a_policy_is_told_with_the_queues_it_changes(watcher: LinkedClient, client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    heard(watcher)
    vhost = watcher.linked.broker.vhosts["/"]
    definition = {"max-length": 3}
    vhost.put_policy(make_policy("p", "^q", definition, 1, "queues", False), False)
    fields = {"apply-to": "queues", "priority": 1, "definition": definition, "pattern": "^q", ACTOR: INTERNAL}
    first, second = heard(watcher)
    assert first.properties["headers"].items() >= {**fields, "type": "rabbit_classic_queue", "name": "q"}.items()
    assert second.properties["headers"].items() >= {**fields, "vhost": "/", "name": "p"}.items()
    vhost.put_policy(make_policy("other", "^elsewhere", definition, 1, "queues", False), False)
    assert names(watcher) == ["policy.set"]
    vhost.drop_policy("p", False)
    assert names(watcher) == ["queue.policy.cleared", "policy.cleared"]
    vhost.put_policy(make_policy("o", "^q", definition, 1, "queues", True), True)
    vhost.drop_policy("o", True)
    assert names(watcher) == [
        "queue.policy.updated",
        "parameter.set",
        "policy.set",
        "queue.policy.cleared",
        "parameter.cleared",
        "operator.policy.cleared",
    ]


def test_users_and_what_they_may(watcher: LinkedClient) -> None:
    users = watcher.linked.users
    watcher.linked.add_user("u", None)
    users.set_tags("u", ["monitoring"])
    users.set_password("u", "")
    users.set_permissions("u", "/", "a", "b", "c")
    users.set_topic_permissions("u", "/", "amq.topic", "w", "r")
    users.clear_topic_permissions("u", "/", "elsewhere")
    users.clear_topic_permissions("u", "/")
    users.clear_permissions("u", "/")
    users.clear_permissions("u", "/")
    users.set_user_limit("u", "max-channels", 5)
    users.delete_user("u")
    assert names(watcher) == [
        "user.created",
        "user.tags.set",
        "user.password.cleared",
        "permission.created",
        "topic.permission.created",
        "topic.permission.deleted",
        "permission.deleted",
        "user.limits.set",
        "user.deleted",
    ]


def test_limits_of_a_vhost_are_told_all_together(watcher: LinkedClient) -> None:
    users = watcher.linked.users
    users.set_vhost_limit("/", "max-queues", 5)
    users.set_vhost_limit("/", "max-connections", 9)
    users.clear_vhost_limits("/", "max-queues")
    users.clear_vhost_limits("/")
    limits = [
        (came.values["routing_key"], came.properties["headers"].get("max-queues"))
        for came in heard(watcher)
        if came.values["routing_key"].startswith("vhost.")
    ]
    assert limits == [
        ("vhost.limits.set", 5),
        ("vhost.limits.set", 5),
        ("vhost.limits.set", None),
        ("vhost.limits.cleared", None),
    ]


def test_a_vhost_comes_with_its_exchanges_and_goes_with_them(watcher: LinkedClient) -> None:
    broker = watcher.linked.broker
    broker.create_vhost("v", "words", '["a"]')
    came = heard(watcher)
    assert [one.values["routing_key"] for one in came] == ["exchange.created"] * 7 + ["vhost.created"]
    headers = came[-1].properties["headers"]
    assert (headers["name"], headers["description"], headers["tags"]) == ("v", "words", ["a"])
    assert headers["cluster_state"] == {broker.events.node: "running"}
    broker.delete_vhost("v")
    assert names(watcher) == ["exchange.deleted"] * 7 + ["vhost.deleted"]


def test_the_end_of_the_vhost_of_events_ends_them_and_a_new_one_has_the_exchange(
    linked: Linked, watcher: LinkedClient
) -> None:
    linked.broker.delete_vhost("/")
    linked.turn()
    assert not linked.broker.events.listening
    linked.broker.create_vhost("/")
    assert EXCHANGE in linked.broker.vhosts["/"].exchanges


def test_alarms_are_told_when_they_change(watcher: LinkedClient) -> None:
    broker = watcher.linked.broker
    for on in (True, True, False, False):
        broker.set_alarm("memory", on)
    watcher.linked.turn()
    came = [(one.values["routing_key"], one.properties["headers"]["source"]) for one in heard(watcher)]
    assert came == [("alarm.set", "memory"), ("alarm.cleared", "memory")]


def test_parameters_hold_any_json(watcher: LinkedClient) -> None:
    vhost = watcher.linked.broker.vhosts["/"]
    vhost.put_parameter("shovel", "s", '{"a": [1, 2.5, null, true], "e": {}}')
    assert only(watcher, "parameter.set")["value"] == {"a": [1, 2.5, "null", True], "e": {}}
    vhost.drop_parameter("shovel", "s")
    assert only(watcher, "parameter.cleared") == {ACTOR: INTERNAL, "name": "s", "component": "shovel", "vhost": "/"}
    watcher.linked.broker.put_global_parameter("g", "1" + "0" * 40)
    assert only(watcher, "parameter.set")["value"] == (1 << 63) - 1
