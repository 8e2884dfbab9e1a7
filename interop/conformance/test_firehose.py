"""The firehose (behaviour 2.5): what is copied to amq.rabbitmq.trace, its keys, its headers with their types.

Each test has a vhost of its own that is traced, so that nothing else comes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from interop import facts

from .broker import Admin
from .client import Channel, Client
from .codec import Typed
from .conftest import BrokerUnderTest, Connect, Names
from .headers import ANY, flag, small, text, texts, typed_headers

differs = pytest.mark.differs

TRACE = "amq.rabbitmq.trace"
HEADERS_ONLY = 0x2000


class Trace(NamedTuple):
    key: str
    headers: dict[str, Typed]
    body: bytes


class Tracer:
    """Consumes the copies."""

    def __init__(self, channel: Channel, key: str = "#") -> None:
        self.channel = channel
        queue = channel.call("queue.declare", queue="traces", exclusive=True)["queue"]
        channel.call("queue.bind", queue=queue, exchange=TRACE, routing_key=key)
        channel.call("basic.consume", queue=queue, no_ack=True)

    def next(self) -> Trace:
        message = self.channel.message()
        assert message.method["exchange"] == TRACE
        assert int.from_bytes(message.raw_properties[:2], "big") == HEADERS_ONLY
        return Trace(message.method["routing_key"], typed_headers(message), message.body)

    def quiet(self) -> None:
        self.channel.client.expect_nothing()


@pytest.fixture
def traced(admin: Admin, broker: BrokerUnderTest, name: Names) -> Iterator[str]:
    vhost = name("traced")
    admin.add_vhost(vhost)
    admin.set_permissions(broker.target.user, vhost, ".*", ".*", ".*")
    admin.trace(vhost, True)
    yield vhost
    admin.delete_vhost(vhost)


@pytest.fixture
def tracer(connect: Connect, traced: str) -> Tracer:
    return Tracer(connect(vhost=traced).channel())


@pytest.fixture
def traced_client(connect: Connect, traced: str) -> Client:
    return connect(vhost=traced)


@pytest.fixture
def channel(traced_client: Client) -> Channel:
    """Instead of that in the vhost of all: one in the traced one."""
    channel = traced_client.channel(3)
    channel.call("queue.declare", queue="q")
    return channel


def common(channel: Channel, vhost: str) -> dict[str, Typed]:
    target = channel.client.target
    host, port = channel.client.sock.getsockname()
    return {
        "node": text(ANY),
        "vhost": text(vhost),
        "connection": text(f"{host}:{port} -> {host}:{target.port}"),
        "channel": small(channel.number),
        "user": text(target.user),
    }


def properties(**values: Any) -> Typed:
    return Typed("F", values)


EVERY_PROPERTY: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1, "b": "x", "t": {"n": True}, "l": [Typed("b", 1), "y"], "d": 0.5},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 5,
    "type": "t",
    "app_id": "app",
    "cluster_id": "cluster",
}
EVERY_PROPERTY_TYPED = properties(
    content_type=text("text/plain"),
    content_encoding=text("utf-8"),
    headers=properties(
        a=small(1),
        b=text("x"),
        t=properties(n=flag(True)),
        l=Typed("A", [Typed("b", 1), text("y")]),
        d=Typed("d", 0.5),
    ),
    delivery_mode=small(2),
    priority=small(3),
    correlation_id=text("c"),
    reply_to=text("r"),
    expiration=text("60000"),
    message_id=text("m"),
    timestamp=small(5),
    type=text("t"),
    app_id=text("app"),
    cluster_id=text("cluster"),
)


def test_a_publish_a_get_and_a_delivery(tracer: Tracer, channel: Channel, traced: str) -> None:
    channel.call("queue.declare", queue="q2")
    for queue in ("q", "q2"):
        channel.call("queue.bind", queue=queue, exchange="amq.fanout", routing_key="")
    channel.publish("amq.fanout", "key", b"body", EVERY_PROPERTY)
    message = {
        "exchange_name": text("amq.fanout"),
        "routing_keys": texts("key"),
        "properties": EVERY_PROPERTY_TYPED,
        **common(channel, traced),
    }
    published = tracer.next()
    routed = published.headers.pop("routed_queues")
    assert published == ("publish.amq.fanout", message, b"body")
    assert routed.letter == "A"
    assert sorted(routed.value) == [text("q"), text("q2")]

    got = channel.get("q", no_ack=False)
    assert got is not None
    assert tracer.next() == ("deliver.q", {**message, "redelivered": small(0)}, b"body")
    channel.send("basic.reject", delivery_tag=got.tag, requeue=True)
    channel.get("q")
    assert tracer.next() == ("deliver.q", {**message, "redelivered": small(1)}, b"body")
    channel.call("basic.consume", queue="q2", no_ack=True)
    assert tracer.next() == ("deliver.q2", {**message, "redelivered": small(0)}, b"body")
    tracer.quiet()


def test_the_default_exchange_and_no_properties(tracer: Tracer, channel: Channel, traced: str) -> None:
    channel.publish("", "q", b"")
    message = {"exchange_name": text(""), "routing_keys": texts("q"), "properties": properties()}
    headers = {**message, **common(channel, traced), "routed_queues": texts("q")}
    assert tracer.next() == ("publish.", headers, b"")


def test_the_node_is_the_one_the_events_name(tracer: Tracer, channel: Channel) -> None:
    channel.publish("", "q", b"")
    node = tracer.next().headers["node"].value
    assert "@" in node


def test_a_binding_key_chooses(connect: Connect, traced: str, channel: Channel) -> None:
    tracer = Tracer(connect(vhost=traced).channel(), "deliver.#")
    channel.publish("", "q", b"body")
    channel.get("q")
    assert tracer.next().key == "deliver.q"
    tracer.quiet()


def test_cc_and_bcc(tracer: Tracer, channel: Channel) -> None:
    """A publish shows all keys, in no properties BCC."""
    channel.publish("", "q", b"body", {"headers": {"CC": ["cc", "cc2"], "BCC": ["bcc"]}})
    headers = tracer.next().headers
    assert headers["routing_keys"] == texts("q", "cc", "cc2", "bcc")
    assert headers["properties"] == properties(headers=properties(CC=texts("cc", "cc2")))


@differs(facts.TRACE_BCC)
def test_a_delivery_shows_the_keys_a_consumer_sees(tracer: Tracer, channel: Channel) -> None:
    channel.publish("", "q", b"body", {"headers": {"CC": ["cc"], "BCC": ["bcc"]}})
    channel.get("q")
    tracer.next()
    assert tracer.next().headers["routing_keys"] == texts("q", "cc")


def test_an_unroutable_message(tracer: Tracer, channel: Channel) -> None:
    channel.publish("amq.direct", "nowhere", b"body", mandatory=True)
    assert channel.message("basic.return").body == b"body"
    trace = tracer.next()
    assert (trace.key, trace.headers["routed_queues"]) == ("publish.amq.direct", texts())


@differs(facts.TRACE_ROUTED)
def test_a_queue_that_does_not_exist_is_not_routed_to(tracer: Tracer, channel: Channel) -> None:
    channel.publish("", "nowhere", b"body")
    assert tracer.next().headers["routed_queues"] == texts()


def test_a_refused_publish_is_not_traced(tracer: Tracer, channel: Channel) -> None:
    channel.publish("", "q", b"body", {"user_id": "somebody else"})
    channel.expect("channel.close")
    tracer.quiet()


def test_an_alternate_exchange(tracer: Tracer, channel: Channel) -> None:
    channel.call("exchange.declare", exchange="ae", type="fanout")
    channel.call("exchange.declare", exchange="x", type="direct", arguments={"alternate-exchange": "ae"})
    channel.call("queue.bind", queue="q", exchange="ae")
    channel.publish("x", "nowhere", b"body")
    trace = tracer.next()
    assert (trace.key, trace.headers["exchange_name"], trace.headers["routed_queues"]) == (
        "publish.x",
        text("x"),
        texts("q"),
    )


def test_a_transaction_is_traced_when_it_is_published(tracer: Tracer, channel: Channel) -> None:
    channel.call("tx.select")
    channel.publish("", "q", b"body")
    assert tracer.next().key == "publish."
    channel.call("tx.rollback")
    tracer.quiet()
    channel.publish("", "q", b"body")
    assert tracer.next().key == "publish."
    channel.call("tx.commit")
    tracer.quiet()


def test_a_direct_reply_is_traced_when_it_is_published(tracer: Tracer, channel: Channel) -> None:
    channel.call("basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True)
    channel.publish("", "q", b"request", {"reply_to": "amq.rabbitmq.reply-to"})
    request = channel.get("q")
    assert request is not None
    reply_to = request.properties["reply_to"]
    shown = [tracer.next(), tracer.next()]
    assert [trace.headers["properties"] for trace in shown] == [properties(reply_to=text(reply_to))] * 2
    channel.publish("", reply_to, b"reply")
    assert channel.message().body == b"reply"
    trace = tracer.next()
    assert (trace.key, trace.headers["routed_queues"]) == ("publish.", texts())
    tracer.quiet()


def test_a_dead_letter_is_traced_when_it_is_delivered(tracer: Tracer, channel: Channel) -> None:
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.call("queue.declare", queue="dead")
    channel.call("queue.declare", queue="short", arguments={"x-message-ttl": 0, **letters})
    channel.call("basic.consume", queue="dead", no_ack=True)
    channel.publish("", "short", b"body")
    assert tracer.next().key == "publish."
    trace = tracer.next()
    assert trace.key == "deliver.dead"
    assert "x-death" in trace.headers["properties"].value["headers"].value
    tracer.quiet()


def test_a_quorum_queue_shows_its_count(tracer: Tracer, channel: Channel) -> None:
    channel.call("queue.declare", queue="qq", durable=True, arguments={"x-queue-type": "quorum"})
    channel.call("confirm.select")
    channel.publish("", "qq", b"body")
    channel.expect("basic.ack")
    assert channel.get("qq") is not None
    tracer.next()
    count = {"x-delivery-count": Typed("l", 0)}
    assert tracer.next().headers["properties"] == properties(headers=properties(**count))


@differs(facts.TRACE_TIMESTAMP)
def test_a_timestamp_in_milliseconds(tracer: Tracer, channel: Channel) -> None:
    channel.publish("", "q", b"body", {"timestamp": 1_700_000_000_000})
    assert tracer.next().headers["properties"] == properties(timestamp=Typed("l", 1_700_000_000_000))


def test_tracing_is_one_vhosts_and_goes_off(
    admin: Admin, tracer: Tracer, channel: Channel, other: Channel, traced: str
) -> None:
    queue = other.call("queue.declare", exclusive=True)["queue"]
    other.publish("", queue, b"elsewhere")
    assert other.get(queue) is not None
    tracer.quiet()
    admin.trace(traced, False)
    # RabbitMQ's channels hear of it a little later; a new one knows.
    fresh = channel.client.channel(9)
    fresh.publish("", "q", b"body")
    assert fresh.get("q") is not None
    tracer.quiet()
