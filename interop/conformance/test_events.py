"""The event exchange (behaviour 2.5): each event's key, and its headers with their types.

The queue that listens is bound in ``/``; whatever else happens on the broker is passed over.
"""

import re
import time
from collections.abc import Iterator

import pytest

from interop import facts

from .broker import Admin, Policy
from .client import PATIENCE, Channel, Client, Message, Silence
from .codec import Typed
from .conftest import BrokerUnderTest, Connect, Names
from .headers import ANY, flag, number, text, texts, typed_headers

differs = pytest.mark.differs

EXCHANGE = "amq.rabbitmq.event"
HEADERS_MODE_TIMESTAMP = 0x3040
PID = re.compile(r"<\S+\.\d+\.\d+\.\d+>")

Headers = dict[str, Typed]
WHO = {"user_who_performed_action": text(ANY)}
BY_ITSELF = {"user_who_performed_action": text("rmq-internal")}


class Watcher:
    """Everything that happened since it began to watch."""

    def __init__(self, channel: Channel, key: str = "#") -> None:
        self.channel = channel
        queue = channel.call("queue.declare", exclusive=True)["queue"]
        channel.call("queue.bind", queue=queue, exchange=EXCHANGE, routing_key=key)
        channel.call("basic.consume", queue=queue, no_ack=True)
        self.waiting: list[tuple[str, Headers]] = []

    def event(self, key: str, within: float = PATIENCE, /, **known: Typed) -> Headers:
        """The headers of the first event of this key that has these headers; the time is left out."""
        deadline = time.monotonic() + within
        while True:
            for at, (name, headers) in enumerate(self.waiting):
                if name == key and known.items() <= headers.items():
                    del self.waiting[at]
                    return headers
            assert time.monotonic() < deadline, f"no {key} with {known}; came: {self.waiting}"
            self._read(deadline)

    def keys_of(self, **known: Typed) -> list[str]:
        """The keys of everything that came with these headers."""
        self._read(time.monotonic() + 0.3)
        return [name for name, headers in self.waiting if known.items() <= headers.items()]

    def _read(self, deadline: float) -> None:
        """What is there, but at least what comes before ``deadline``."""
        within = max(deadline - time.monotonic(), 0.01)
        while True:
            try:
                self.channel.client.put_back(self.channel.client.next_frame(self.channel.number, within))
            except Silence:
                return
            self.waiting.append(self._opened(self.channel.message()))
            within = 0.01

    @staticmethod
    def _opened(message: Message) -> tuple[str, Headers]:
        """Checks what all have in common."""
        assert message.method["exchange"] == EXCHANGE
        assert message.body == b""
        assert int.from_bytes(message.raw_properties[:2], "big") == HEADERS_MODE_TIMESTAMP
        headers = typed_headers(message)
        letter, milliseconds = headers.pop("timestamp_in_ms")
        assert letter == "l"
        assert abs(milliseconds - time.time() * 1000) < 60_000
        assert message.properties["timestamp"] == milliseconds // 1000
        assert message.properties["delivery_mode"] == 2
        return message.method["routing_key"], headers


@pytest.fixture
def watcher(broker: BrokerUnderTest) -> Iterator[Watcher]:
    with Client(broker.target) as client:
        yield Watcher(client.connect().channel())


@pytest.fixture
def user(admin: Admin, name: Names) -> Iterator[str]:
    """A user whose password is the name."""
    user = name("u")
    admin.add_user(user, user)
    yield user
    admin.delete_user(user)


def is_pid(value: Typed) -> bool:
    return value.letter == "S" and PID.fullmatch(value.value) is not None


# Topology


def test_the_exchange_is_there_and_no_client_may_publish_to_it(broker: BrokerUnderTest) -> None:
    with Client(broker.target) as client:
        channel = client.connect().channel()
        channel.call("exchange.declare", exchange=EXCHANGE, type="topic", durable=True, internal=True)
        channel.publish(EXCHANGE, "queue.created")
        closed = channel.expect("channel.close")
        assert closed["reply_text"].endswith(f"cannot publish to internal exchange '{EXCHANGE}' in vhost '/'")


def test_its_own_binding_is_the_first_event(broker: BrokerUnderTest, watcher: Watcher) -> None:
    headers = watcher.event("binding.created", source_name=text(EXCHANGE))
    assert headers["user_who_performed_action"] == text(broker.target.user)


def test_a_queue(watcher: Watcher, channel: Channel, vhost: str, name: Names) -> None:
    queue, user = name("q"), text(channel.client.target.user)
    arguments = {"x-max-length": 5, "x-message-ttl": Typed("l", 60000), "x-overflow": "drop-head"}
    channel.call("queue.declare", queue=queue, durable=True, arguments=arguments)
    assert watcher.event("queue.created", name=text(queue)) == {
        "user_who_performed_action": user,
        "exclusive": flag(False),
        "owner_pid": text(""),
        "arguments": texts(
            '{<<"x-max-length">>,signedint,5}',
            '{<<"x-message-ttl">>,long,60000}',
            '{<<"x-overflow">>,longstr,<<"drop-head">>}',
        ),
        "auto_delete": flag(False),
        "durable": flag(True),
        "name": text(queue),
        "vhost": text(vhost),
    }
    channel.call("queue.declare", queue=queue, durable=True, arguments=arguments)
    channel.call("queue.delete", queue=queue)
    gone = {"user_who_performed_action": user, "name": text(queue), "vhost": text(vhost)}
    assert watcher.event("queue.deleted", name=text(queue)) == gone
    assert watcher.keys_of(name=text(queue)) == []


def test_a_quorum_queue_says_its_type(watcher: Watcher, channel: Channel, vhost: str, name: Names) -> None:
    queue = name("q")
    channel.call("queue.declare", queue=queue, durable=True, arguments={"x-queue-type": "quorum"})
    assert watcher.event("queue.created", name=text(queue)) == {
        **WHO,
        "arguments": texts('{<<"x-queue-type">>,longstr,<<"quorum">>}'),
        "type": text("rabbit_quorum_queue"),
        "exclusive": flag(False),
        "auto_delete": flag(False),
        "durable": flag(True),
        "name": text(queue),
        "vhost": text(vhost),
    }
    channel.call("queue.delete", queue=queue)


def test_an_exclusive_queue_names_its_owner_and_ends_by_itself(watcher: Watcher, connect: Connect, name: Names) -> None:
    queue, called = name("q"), name("owner")
    client = connect(client_properties={"connection_name": called})
    client.channel().call("queue.declare", queue=queue, exclusive=True)
    owner = watcher.event("connection.created", user_provided_name=text(called))
    created = watcher.event("queue.created", name=text(queue))
    assert created["exclusive"] == flag(True)
    assert created["owner_pid"] == owner["pid"]
    client.sock.close()
    assert watcher.event("queue.deleted", name=text(queue)).items() >= BY_ITSELF.items()


def test_an_exchange(watcher: Watcher, channel: Channel, vhost: str, name: Names) -> None:
    exchange, user = name("x"), text(channel.client.target.user)
    channel.call("exchange.declare", exchange=exchange, type="headers", durable=True, arguments={"foo": "bar"})
    assert watcher.event("exchange.created", name=text(exchange)) == {
        "user_who_performed_action": user,
        "policy": text(""),
        "arguments": texts('{<<"foo">>,longstr,<<"bar">>}'),
        "internal": flag(False),
        "auto_delete": flag(False),
        "durable": flag(True),
        "type": text("headers"),
        "name": text(exchange),
        "vhost": text(vhost),
    }
    channel.call("exchange.delete", exchange=exchange)
    gone = {"user_who_performed_action": user, "name": text(exchange), "vhost": text(vhost)}
    assert watcher.event("exchange.deleted", name=text(exchange)) == gone


def test_bindings(watcher: Watcher, channel: Channel, queue: str, vhost: str, name: Names) -> None:
    exchange, user = name("x"), text(channel.client.target.user)
    channel.call("exchange.declare", exchange=exchange, type="topic")
    bind = {"queue": queue, "exchange": exchange, "routing_key": "a.b", "arguments": {"x": Typed("b", 1)}}
    channel.call("queue.bind", **bind)
    to_queue = {
        "user_who_performed_action": user,
        "vhost": text(vhost),
        "arguments": texts('{<<"x">>,byte,1}'),
        "routing_key": text("a.b"),
        "destination_kind": text("queue"),
        "destination_name": text(queue),
        "source_kind": text("exchange"),
        "source_name": text(exchange),
    }
    assert watcher.event("binding.created", source_name=text(exchange)) == to_queue
    channel.call("queue.unbind", **bind)
    assert watcher.event("binding.deleted", source_name=text(exchange)) == to_queue
    channel.call("exchange.bind", destination=exchange, source="amq.fanout", routing_key="k")
    to_exchange = {
        "user_who_performed_action": user,
        "vhost": text(vhost),
        "arguments": texts(),
        "routing_key": text("k"),
        "destination_kind": text("exchange"),
        "destination_name": text(exchange),
        "source_kind": text("exchange"),
        "source_name": text("amq.fanout"),
    }
    assert watcher.event("binding.created", destination_name=text(exchange)) == to_exchange
    channel.call("exchange.delete", exchange=exchange)
    assert watcher.event("binding.deleted", destination_name=text(exchange)) == to_exchange


def test_a_queue_takes_its_bindings_along(watcher: Watcher, channel: Channel, queue: str) -> None:
    channel.call("queue.bind", queue=queue, exchange="amq.direct", routing_key="k")
    channel.call("queue.delete", queue=queue)
    watcher.event("binding.created", destination_name=text(queue))
    assert watcher.event("binding.deleted", destination_name=text(queue))["source_name"] == text("amq.direct")
    watcher.event("queue.deleted", name=text(queue))


def test_an_auto_delete_queue_and_one_that_expires_end_by_themselves(
    watcher: Watcher, channel: Channel, name: Names
) -> None:
    automatic, short = name("q"), name("q")
    channel.call("queue.declare", queue=automatic, auto_delete=True)
    channel.call("basic.consume", queue=automatic, consumer_tag="t")
    channel.call("basic.cancel", consumer_tag="t")
    assert watcher.event("queue.deleted", name=text(automatic)).items() >= BY_ITSELF.items()
    channel.call("queue.declare", queue=short, arguments={"x-expires": 50})
    assert watcher.event("queue.deleted", name=text(short)).items() >= BY_ITSELF.items()


# Connections


def test_a_connection_its_channel_and_its_consumer(
    broker: BrokerUnderTest, watcher: Watcher, connect: Connect, queue: str, vhost: str, name: Names
) -> None:
    called, user = name("connection"), broker.target.user
    client = connect(client_properties={"connection_name": called, "n": 5})
    port = client.sock.getsockname()[1]
    channel = client.channel(7)
    channel.call("basic.qos", prefetch_count=3)
    channel.call("basic.consume", queue=queue, consumer_tag="tag", exclusive=True, arguments={"x-priority": 3})

    created = watcher.event("connection.created", user_provided_name=text(called))
    properties = created["client_properties"]
    assert properties.letter == "A"
    assert text(f'{{<<"connection_name">>,longstr,<<"{called}">>}}') in properties.value
    assert text('{<<"n">>,signedint,5}') in properties.value
    assert text('{<<"product">>,longstr,<<"conformance">>}') in properties.value
    assert is_pid(created["pid"])
    full_name = text(f"127.0.0.1:{port} -> 127.0.0.1:{client.target.port}")
    assert created == {
        "user_who_performed_action": text(user),
        "node": text(ANY),
        "connected_at": number(ANY),
        "client_properties": properties,
        "channel_max": number(2047),
        "frame_max": number(131072),
        "timeout": number(0),
        "vhost": text(vhost),
        "user": text(user),
        "protocol": text("{0,9,1}"),
        "ssl_hash": text(""),
        "ssl_cipher": text(""),
        "ssl_key_exchange": text(""),
        "ssl_protocol": text(""),
        "auth_mechanism": text("PLAIN"),
        "peer_cert_validity": text(""),
        "peer_cert_issuer": text(""),
        "peer_cert_subject": text(""),
        "ssl": flag(False),
        "peer_host": text("{127,0,0,1}"),
        "host": text("{127,0,0,1}"),
        "peer_port": number(port),
        "port": number(client.target.port),
        "name": full_name,
        "pid": created["pid"],
        "type": text("network"),
        "user_provided_name": text(called),
    }

    opened = watcher.event("channel.created", connection=created["pid"])
    assert is_pid(opened["pid"])
    assert opened == {
        "user_who_performed_action": text(user),
        "vhost": text(vhost),
        "user": text(user),
        "number": number(7),
        "connection": created["pid"],
        "name": text(f"{full_name.value} (7)"),
        "pid": opened["pid"],
    }

    consumer = watcher.event("consumer.created", channel=opened["pid"])
    assert consumer == {
        "user_who_performed_action": text(user),
        "arguments": texts('{<<"x-priority">>,signedint,3}'),
        "prefetch_count": number(3),
        "queue": text(queue),
        "vhost": text(vhost),
        "channel": opened["pid"],
        "ack_required": flag(True),
        "exclusive": flag(True),
        "consumer_tag": text("tag"),
    }
    channel.call("basic.cancel", consumer_tag="tag")
    cancelled = {
        "user_who_performed_action": text(user),
        "queue": text(queue),
        "vhost": text(vhost),
        "channel": opened["pid"],
        "consumer_tag": text("tag"),
    }
    assert watcher.event("consumer.deleted", channel=opened["pid"]) == cancelled

    channel.call("basic.consume", queue=queue, consumer_tag="tag")
    channel.close()
    assert watcher.event("consumer.deleted", channel=opened["pid"]) == {**cancelled, **BY_ITSELF}
    closed = {"user_who_performed_action": text(user), "pid": opened["pid"]}
    assert watcher.event("channel.closed", pid=opened["pid"]) == closed
    client.close()
    assert watcher.event("connection.closed", pid=created["pid"]) == {
        "client_properties": properties,
        "node": created["node"],
        "pid": created["pid"],
        "name": full_name,
        "user_provided_name": text(called),
    }


def test_a_connection_without_a_name_and_one_that_breaks_off(watcher: Watcher, connect: Connect) -> None:
    client = connect()
    host, port = client.sock.getsockname()
    full_name = text(f"{host}:{port} -> {host}:{client.target.port}")
    assert "user_provided_name" not in watcher.event("connection.created", name=full_name)
    client.sock.close()
    assert "user_provided_name" not in watcher.event("connection.closed", name=full_name)


def login(port: int, target_port: int, user: str) -> Headers:
    return {
        "ssl": flag(False),
        "auth_mechanism": text("PLAIN"),
        "protocol": text("{0,9,1}"),
        "peer_port": number(port),
        "peer_host": text("{127,0,0,1}"),
        "connection_name": text(f"127.0.0.1:{port} -> 127.0.0.1:{target_port}"),
        "host": text("{127,0,0,1}"),
        "name": text(user),
        "connection_type": text("network"),
    }


def test_logins(broker: BrokerUnderTest, watcher: Watcher, dial: Connect, name: Names) -> None:
    client = dial().connect()
    wanted = login(client.sock.getsockname()[1], client.target.port, broker.target.user)
    assert watcher.event("user.authentication.success", peer_port=wanted["peer_port"]) == wanted


def test_refused_logins(broker: BrokerUnderTest, watcher: Watcher, dial: Connect, name: Names) -> None:
    """The reason is a list of the numbers of its letters."""
    for user, password in ((broker.target.user, "wrong"), (name("nobody"), "x")):
        client = dial()
        client.greet()
        client.login(user=user, password=password)
        wanted = login(client.sock.getsockname()[1], client.target.port, user)
        failed = watcher.event("user.authentication.failure", peer_port=wanted["peer_port"])
        reason = failed.pop("error")
        assert failed == wanted
        assert reason.letter == "A"
        assert {item.letter for item in reason.value} == {"l"}
        assert "".join(chr(item.value) for item in reason.value) == f"user '{user}' - invalid credentials"


# Operators


def test_users(admin: Admin, watcher: Watcher, name: Names) -> None:
    user = name("u")
    known = {"name": text(user)}
    admin.add_user(user, user, "monitoring")
    assert watcher.event("user.created", **known) == {**WHO, **known}
    assert watcher.event("user.tags.set", **known) == {**WHO, **known, "tags": texts("monitoring")}
    admin.set_password(user, "other")
    assert watcher.event("user.password.changed", **known) == {**WHO, **known}
    assert watcher.event("user.tags.set", **known) == {**WHO, **known, "tags": texts()}
    admin.delete_user(user)
    assert watcher.event("user.deleted", **known) == {**WHO, **known}


def test_permissions(admin: Admin, watcher: Watcher, vhost: str, user: str) -> None:
    known = {"user": text(user), "vhost": text(vhost)}
    admin.set_permissions(user, vhost, "a", "b", "c")
    rights = {"configure": text("a"), "write": text("b"), "read": text("c")}
    assert watcher.event("permission.created", **known) == {**WHO, **known, **rights}
    admin.set_topic_permissions(user, vhost, "amq.topic", "w", "r")
    topics = {"exchange": text("amq.topic"), "write": text("w"), "read": text("r")}
    assert watcher.event("topic.permission.created", **known) == {**WHO, **known, **topics}


def test_a_deleted_user_is_one_event(admin: Admin, watcher: Watcher, vhost: str, name: Names) -> None:
    user = name("u")
    admin.add_user(user, user)
    admin.set_permissions(user, vhost, "", "", "")
    admin.set_user_limit(user, "max-channels", 1)
    admin.delete_user(user)
    watcher.event("user.deleted", name=text(user))
    assert watcher.keys_of(user=text(user)) == ["permission.created"]


def test_limits(admin: Admin, watcher: Watcher, vhost: str, user: str) -> None:
    try:
        admin.set_vhost_limit(vhost, "max-queues", 1000)
        set_ = watcher.event("parameter.set", component=text("vhost-limits"), vhost=text(vhost))
        limits = Typed("F", {"max-queues": number(1000)})
        assert set_ == {
            **WHO,
            "value": limits,
            "name": text("limits"),
            "component": text("vhost-limits"),
            "vhost": text(vhost),
        }
        wanted = {**WHO, "max-queues": number(1000), "name": text("limits")}
        assert watcher.event("vhost.limits.set", **{"max-queues": number(1000)}) == wanted
    finally:
        admin.set_vhost_limit(vhost, "max-queues", -1)
    admin.set_user_limit(user, "max-channels", 5)
    assert watcher.event("user.limits.set", username=text(user)) == {
        **WHO,
        "max-channels": number(5),
        "username": text(user),
        "name": text("limits"),
    }


def test_a_policy_and_the_queue_it_changes(
    admin: Admin, watcher: Watcher, channel: Channel, vhost: str, name: Names
) -> None:
    queue, policy = name("q"), name("p")
    channel.call("queue.declare", queue=queue)
    fields = {
        "apply-to": text("queues"),
        "priority": number(2),
        "definition": Typed("F", {"max-length": number(3), "overflow": text("reject-publish")}),
        "pattern": text(f"^{queue}$"),
    }
    definition = {"max-length": 3, "overflow": "reject-publish"}
    assert not admin.set_policy(vhost, policy, Policy(f"^{queue}$", definition, 2))
    known = {"vhost": text(vhost), "name": text(policy)}
    of_queue = {"vhost": text(vhost), "name": text(queue), "type": text("rabbit_classic_queue")}
    assert watcher.event("queue.policy.updated", name=text(queue)) == {**WHO, **fields, **of_queue}
    assert watcher.event("policy.set", name=text(policy)) == {**WHO, **fields, **known}
    admin.clear_policy(vhost, policy)
    assert watcher.event("queue.policy.cleared", name=text(queue)) == {**WHO, **of_queue}
    assert watcher.event("policy.cleared", name=text(policy)) == {**WHO, **known}


def test_an_operator_policy_is_a_parameter_too(admin: Admin, watcher: Watcher, vhost: str, name: Names) -> None:
    policy = name("p")
    pattern = name("no-queue")
    assert not admin.set_policy(vhost, policy, Policy(pattern, {"max-length": 2}, operator=True))
    fields = {
        "apply-to": text("queues"),
        "priority": number(0),
        "definition": Typed("F", {"max-length": number(2)}),
        "pattern": text(pattern),
    }
    known = {"vhost": text(vhost), "name": text(policy)}
    component = {"component": text("operator_policy")}
    parameter = watcher.event("parameter.set", name=text(policy))
    assert parameter == {**WHO, **known, **component, "value": Typed("F", fields)}
    assert watcher.event("policy.set", name=text(policy)) == {**WHO, **known, **fields}
    admin.clear_policy(vhost, policy, operator=True)
    assert watcher.event("parameter.cleared", name=text(policy)) == {**WHO, **known, **component}
    assert watcher.event("operator.policy.cleared", name=text(policy)) == {**WHO, **known}


def test_a_global_parameter(admin: Admin, watcher: Watcher, name: Names) -> None:
    parameter = name("g")
    known = {"name": text(parameter), "component": text("global")}
    admin.set_global_parameter(parameter, {"a": 1, "b": ["x", True]})
    admin.clear_global_parameter(parameter)
    value = {"a": number(1), "b": Typed("A", [text("x"), flag(True)])}
    assert watcher.event("parameter.set", **known) == {**WHO, **known, "value": Typed("F", value)}


@differs(facts.EVENT_OBJECT)
def test_an_object_in_an_object(admin: Admin, watcher: Watcher, name: Names) -> None:
    parameter = name("g")
    admin.set_global_parameter(parameter, {"a": {"b": 1}})
    admin.clear_global_parameter(parameter)
    value = Typed("F", {"a": Typed("F", {"b": number(1)})})
    assert watcher.event("parameter.set", name=text(parameter))["value"] == value


@differs(facts.EVENT_CLEARED)
def test_the_end_of_a_global_parameter(admin: Admin, watcher: Watcher, name: Names) -> None:
    parameter = name("g")
    admin.set_global_parameter(parameter, 1)
    admin.clear_global_parameter(parameter)
    known = {"name": text(parameter), "component": text("global")}
    assert watcher.event("parameter.cleared", 1, **known) == {**WHO, **known}


EXCHANGES = ["", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.rabbitmq.trace", "amq.topic"]


def test_a_vhost(admin: Admin, watcher: Watcher, broker: BrokerUnderTest, name: Names) -> None:
    vhost = name("v")
    admin.add_vhost(vhost)
    created = watcher.event("vhost.created", name=text(vhost))
    assert created == {
        **WHO,
        "tags": texts(),
        "description": text(""),
        "cluster_state": Typed("F", ANY),
        "tracing": flag(False),
        "metadata": text(ANY),
        "default_queue_type": text("undefined"),
        "name": text(vhost),
    }
    assert list(created["cluster_state"].value.values()) == [text("running")]
    made = [watcher.event("exchange.created", vhost=text(vhost))["name"].value for _ in EXCHANGES]
    assert sorted(made) == EXCHANGES
    admin.set_permissions(broker.target.user, vhost, "", "", "")
    admin.delete_vhost(vhost)
    assert watcher.event("vhost.deleted", name=text(vhost)) == {**WHO, "name": text(vhost)}
    unmade = [watcher.event("exchange.deleted", vhost=text(vhost))["name"].value for _ in EXCHANGES]
    assert sorted(unmade) == EXCHANGES
    rights = {"user": text(broker.target.user), "vhost": text(vhost)}
    assert watcher.event("permission.deleted", **rights) == {**WHO, **rights}
