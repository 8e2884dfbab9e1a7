"""Who may do what: the permission table, its patterns, topic permissions and limits (behaviour 2.4).

One user sees everything through names: the letters before the first dash of a name are what the user may do
with it: c configure, w write, r read; "no" is none. Passive declares need no permission.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from interop import facts

from .broker import Admin
from .client import Channel, Client
from .conftest import Connect, Names

differs = pytest.mark.differs

PATTERNS = ("^cw?r?-|^amq.gen", "^c?wr?-", "^c?w?r-")


@pytest.fixture(scope="module")
def user(admin: Admin, vhost: str, token: str) -> Iterator[str]:
    """The user of the table; the password is the name."""
    user = f"reader-{token}"
    admin.add_user(user, user)
    admin.set_permissions(user, vhost, *PATTERNS)
    yield user
    admin.delete_user(user)


@pytest.fixture
def mine(connect: Connect, user: str) -> Channel:
    """A channel of the user."""
    return connect(user=user, password=user).channel()


def refusal(kind: str, name: str, vhost: str, user: str) -> str:
    return f"access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'"


def made(channel: Channel, name: Names, kind: str, rights: str) -> str:
    """An existing queue or exchange with these rights for the user."""
    new = name(rights)
    if kind == "queue":
        channel.call("queue.declare", queue=new)
    else:
        channel.call("exchange.declare", exchange=new, type="direct")
    return new


# What a method needs on its one queue or exchange.

ONE_OBJECT: list[tuple[str, str, str, str, dict[str, Any]]] = [
    # method, kind of object, argument that names it, right needed, other arguments
    ("exchange.declare", "exchange", "exchange", "c", {"type": "direct"}),
    ("exchange.delete", "exchange", "exchange", "c", {}),
    ("queue.declare", "queue", "queue", "c", {}),
    ("queue.delete", "queue", "queue", "c", {}),
    ("queue.purge", "queue", "queue", "r", {}),
    ("basic.consume", "queue", "queue", "r", {}),
]
IDS = [row[0] for row in ONE_OBJECT]


@pytest.mark.parametrize(("method", "kind", "argument", "right", "values"), ONE_OBJECT, ids=IDS)
def test_method_is_refused_without_its_right(
    channel: Channel,
    mine: Channel,
    user: str,
    vhost: str,
    name: Names,
    method: str,
    kind: str,
    argument: str,
    right: str,
    values: dict[str, Any],
) -> None:
    target = made(channel, name, kind, "cwr".replace(right, ""))
    mine.refused(403, refusal(kind, target, vhost, user), method, **{argument: target}, **values)


@pytest.mark.parametrize(("method", "kind", "argument", "right", "values"), ONE_OBJECT, ids=IDS)
def test_method_needs_no_other_right(
    channel: Channel,
    mine: Channel,
    name: Names,
    method: str,
    kind: str,
    argument: str,
    right: str,
    values: dict[str, Any],
) -> None:
    mine.call(method, **{argument: made(channel, name, kind, right)}, **values)


@pytest.mark.parametrize(
    ("method", "kind", "values"),
    [("exchange.declare", "exchange", {"type": "direct"}), ("queue.declare", "queue", {})],
)
def test_declaring_something_new_needs_configure(
    mine: Channel, user: str, vhost: str, name: Names, method: str, kind: str, values: dict[str, Any]
) -> None:
    mine.call(method, **{kind: name("c")}, **values)
    new = name("wr")
    mine.refused(403, refusal(kind, new, vhost, user), method, **{kind: new}, **values)


def test_get_needs_read(channel: Channel, mine: Channel, user: str, vhost: str, name: Names) -> None:
    assert mine.get(made(channel, name, "queue", "r")) is None
    queue = made(channel, name, "queue", "cw")
    mine.refused(403, refusal("queue", queue, vhost, user), "basic.get", queue=queue)


@pytest.mark.parametrize("method", ["queue.purge", "basic.get", "basic.consume", "queue.delete"])
def test_right_is_checked_before_existence(mine: Channel, user: str, vhost: str, name: Names, method: str) -> None:
    queue = name("no")
    mine.refused(403, refusal("queue", queue, vhost, user), method, queue=queue)


def test_passive_declares_need_nothing(channel: Channel, mine: Channel, name: Names) -> None:
    mine.call("queue.declare", queue=made(channel, name, "queue", "no"), passive=True)
    mine.call("exchange.declare", exchange=made(channel, name, "exchange", "no"), passive=True)


def test_server_named_queue_needs_configure_on_its_name(
    mine: Channel, connect: Connect, admin: Admin, vhost: str, name: Names
) -> None:
    mine.call("queue.declare", exclusive=True)
    user = name("other")
    admin.add_user(user, user)
    admin.set_permissions(user, vhost, "^mine", "^amq", "^amq")
    channel = connect(user=user, password=user).channel()
    channel.send("queue.declare", exclusive=True)
    close = channel.expect("channel.close")
    assert close["reply_code"] == 403
    assert close["reply_text"].startswith("ACCESS_REFUSED - access to queue 'amq.gen-")
    channel.client.sock.close()
    admin.delete_user(user)


def test_reply_to_consumer_needs_nothing(mine: Channel) -> None:
    mine.call("basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True)


# Bindings: write on the destination, read on the source


@pytest.mark.parametrize("method", ["exchange.bind", "exchange.unbind"])
def test_exchange_binding_needs_write_on_the_destination_and_read_on_the_source(
    channel: Channel, mine: Channel, user: str, vhost: str, name: Names, method: str
) -> None:
    writable, readable = made(channel, name, "exchange", "w"), made(channel, name, "exchange", "r")
    mine.call(method, destination=writable, source=readable)
    wrong_destination, wrong_source = (
        made(channel, name, "exchange", "cr"),
        made(channel, name, "exchange", "cw"),
    )
    mine.refused(
        403,
        refusal("exchange", wrong_destination, vhost, user),
        method,
        destination=wrong_destination,
        source=wrong_source,
    )
    mine.client.channel().refused(
        403, refusal("exchange", wrong_source, vhost, user), method, destination=writable, source=wrong_source
    )


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind"])
def test_queue_binding_needs_write_on_the_queue_and_read_on_the_exchange(
    channel: Channel, mine: Channel, user: str, vhost: str, name: Names, method: str
) -> None:
    queue, exchange = made(channel, name, "queue", "w"), made(channel, name, "exchange", "r")
    mine.call(method, queue=queue, exchange=exchange, routing_key="k")
    wrong_queue, wrong_exchange = made(channel, name, "queue", "cr"), made(channel, name, "exchange", "cw")
    mine.refused(
        403,
        refusal("queue", wrong_queue, vhost, user),
        method,
        queue=wrong_queue,
        exchange=wrong_exchange,
        routing_key="k",
    )
    mine.client.channel().refused(
        403,
        refusal("exchange", wrong_exchange, vhost, user),
        method,
        queue=queue,
        exchange=wrong_exchange,
        routing_key="k",
    )


def test_queue_binding_checks_the_right_before_existence(
    channel: Channel, mine: Channel, user: str, vhost: str, name: Names
) -> None:
    queue = name("no")
    mine.refused(
        403,
        refusal("queue", queue, vhost, user),
        "queue.bind",
        queue=queue,
        exchange="no-exchange",
        routing_key="k",
    )


# Alternate and dead-letter exchanges


def declare_with(kind: str, other: str) -> tuple[str, dict[str, Any]]:
    """The declare method and its arguments for an object that names the exchange ``other``."""
    if kind == "queue":
        return "queue.declare", {"arguments": {"x-dead-letter-exchange": other}}
    return "exchange.declare", {"type": "direct", "arguments": {"alternate-exchange": other}}


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_naming_another_exchange_needs_read_here_and_write_there(
    mine: Channel, user: str, vhost: str, name: Names, kind: str
) -> None:
    method, values = declare_with(kind, name("w"))
    mine.call(method, **{kind: name("cr")}, **values)
    unreadable = name("cw")
    mine.refused(403, refusal(kind, unreadable, vhost, user), method, **{kind: unreadable}, **values)
    unwritable = name("cr")
    method, values = declare_with(kind, unwritable)
    mine.client.channel().refused(
        403, refusal("exchange", unwritable, vhost, user), method, **{kind: name("cr")}, **values
    )


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_redeclaring_with_another_exchange_needs_configure_only(
    channel: Channel, mine: Channel, name: Names, kind: str
) -> None:
    method, values = declare_with(kind, name("no"))
    new = name("c")
    channel.call(method, **{kind: new}, **values)
    mine.call(method, **{kind: new}, **values)


# publish


def test_publish_needs_write_on_the_exchange(
    channel: Channel, mine: Channel, user: str, vhost: str, name: Names
) -> None:
    mine.publish(made(channel, name, "exchange", "w"), "k", b"x")
    mine.call("basic.qos")
    exchange = made(channel, name, "exchange", "cr")
    mine.publish_refused(403, refusal("exchange", exchange, vhost, user), exchange, "k", b"x")


def test_publish_right_is_checked_before_existence(mine: Channel, user: str, vhost: str, name: Names) -> None:
    exchange = name("no")
    mine.publish_refused(403, refusal("exchange", exchange, vhost, user), exchange, "k", b"x")


def test_default_exchange_goes_by_amq_default(
    mine: Channel, user: str, connect: Connect, admin: Admin, vhost: str, queue: str, name: Names
) -> None:
    mine.publish_refused(403, refusal("exchange", "amq.default", vhost, user), "", "k", b"x")
    writer = name("writer")
    admin.add_user(writer, writer)
    admin.set_permissions(writer, vhost, "", r"^amq\.default$", ".*")
    channel = connect(user=writer, password=writer).channel()
    channel.publish("", queue, b"x")
    assert channel.drain(queue) == [b"x"]
    channel.client.sock.close()
    admin.delete_user(writer)


def test_refused_no_wait_method_closes_the_channel(mine: Channel, user: str, vhost: str, name: Names) -> None:
    queue = name("wr")
    mine.refused(403, refusal("queue", queue, vhost, user), "queue.declare", queue=queue, no_wait=True)


# Patterns and changes


@pytest.fixture
def someone(admin: Admin, connect: Connect, vhost: str, name: Names) -> Iterator[str]:
    """A user whose rights a test sets; the password is the name."""
    user = name("someone")
    admin.add_user(user, user)
    yield user
    admin.delete_user(user)


def allowed(client: Client, names: list[str]) -> list[str]:
    """Those of the names that the client may declare as queues."""
    result = []
    for queue in names:
        channel = client.channel()
        channel.send("queue.declare", queue=queue, exclusive=True)
        came = client.next_frame(channel.number).describe()
        if came.startswith("queue.declare-ok"):
            result.append(queue)
        else:
            assert "'reply_code': 403" in came
            channel.send("channel.close-ok")
    return result


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("p", ["p", "pq", "qpq"]),
        ("^p", ["p", "pq"]),
        ("^p$", ["p"]),
        ("^(p|q)$", ["p", "q"]),
        ("(?i)^P$", ["p"]),
        ("", []),
        ("^$", []),
    ],
)
def test_pattern_is_searched_for_unanchored(
    admin: Admin, connect: Connect, vhost: str, someone: str, pattern: str, wanted: list[str]
) -> None:
    admin.set_permissions(someone, vhost, pattern, "", "")
    client = connect(user=someone, password=someone)
    assert allowed(client, ["p", "q", "pq", "qpq"]) == wanted


def test_changed_permissions_hold_from_the_next_channel_on(
    admin: Admin, connect: Connect, vhost: str, someone: str
) -> None:
    admin.set_permissions(someone, vhost, "^a$", "", "")
    client = connect(user=someone, password=someone)
    assert allowed(client, ["a", "b"]) == ["a"]
    admin.set_permissions(someone, vhost, "^b$", "", "")
    assert allowed(client, ["a", "b"]) == ["b"]


@differs(facts.RIGHTS_AT_ONCE)
def test_changed_permissions_hold_at_once(admin: Admin, connect: Connect, vhost: str, someone: str, queue: str) -> None:
    admin.set_permissions(someone, vhost, "", "", ".*")
    mine = connect(user=someone, password=someone).channel()
    assert mine.get(queue) is None
    admin.set_permissions(someone, vhost, "", "", "")
    mine.refused(403, refusal("queue", queue, vhost, someone), "basic.get", queue=queue)


# Topic permissions


def topic_refusal(key: str, exchange: str, vhost: str, user: str) -> str:
    return f"access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'"


def test_topic_permissions_limit_routing_and_binding_keys(
    channel: Channel, admin: Admin, connect: Connect, vhost: str, someone: str, queue: str, name: Names
) -> None:
    exchange, free = name("topic"), name("topic")
    for new in (exchange, free):
        channel.call("exchange.declare", exchange=new, type="topic")
    admin.set_permissions(someone, vhost, ".*", ".*", ".*")
    admin.set_topic_permissions(someone, vhost, exchange, r"^{username}\.", r"^a\.")
    client = connect(user=someone, password=someone)
    channel = client.channel()
    channel.publish(exchange, f"{someone}.b", b"x")
    channel.publish(free, "anything", b"x")
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="a.b")
    channel.call("queue.bind", queue=queue, exchange=free, routing_key="#")
    channel.publish_refused(403, topic_refusal("b.c", exchange, vhost, someone), exchange, "b.c", b"x")
    client.channel().refused(
        403,
        topic_refusal("b.c", exchange, vhost, someone),
        "queue.bind",
        queue=queue,
        exchange=exchange,
        routing_key="b.c",
    )


@differs(facts.TOPIC_CC)
def test_topic_permissions_hold_for_every_cc_key(
    channel: Channel, admin: Admin, connect: Connect, vhost: str, someone: str, name: Names
) -> None:
    exchange = name("topic")
    channel.call("exchange.declare", exchange=exchange, type="topic")
    admin.set_permissions(someone, vhost, ".*", ".*", ".*")
    admin.set_topic_permissions(someone, vhost, exchange, r"^a\.", ".*")
    connect(user=someone, password=someone).channel().publish_refused(
        403,
        topic_refusal("b.c", exchange, vhost, someone),
        exchange,
        "a.b",
        b"x",
        {"headers": {"CC": ["a.c", "b.c"]}},
    )


def test_topic_permissions_do_not_touch_other_exchange_types(
    channel: Channel, admin: Admin, connect: Connect, vhost: str, someone: str, name: Names
) -> None:
    exchange = name("direct")
    channel.call("exchange.declare", exchange=exchange, type="direct")
    admin.set_permissions(someone, vhost, ".*", ".*", ".*")
    admin.set_topic_permissions(someone, vhost, exchange, "^$", "^$")
    mine = connect(user=someone, password=someone).channel()
    mine.publish(exchange, "k", b"x")
    mine.call("basic.qos")


# Limits


def test_channel_over_the_users_limit_is_a_connection_error(
    admin: Admin, connect: Connect, vhost: str, someone: str
) -> None:
    admin.set_permissions(someone, vhost, ".*", ".*", ".*")
    admin.set_user_limit(someone, "max-channels", 1)
    client = connect(user=someone, password=someone)
    client.channel()
    client.send("channel.open", on=2)
    client.expect_close(
        530,
        f"number of channels opened for user '{someone}' has reached the maximum allowed user limit of (1)",
        None,
    )
    admin.set_user_limit(someone, "max-channels", -1)
    client = connect(user=someone, password=someone)
    for _ in range(3):
        client.channel()


def test_queue_over_the_vhosts_limit_is_refused(admin: Admin, connect: Connect, broker_user: str, name: Names) -> None:
    vhost = name("limited")
    admin.add_vhost(vhost)
    admin.set_permissions(broker_user, vhost, ".*", ".*", ".*")
    admin.set_vhost_limit(vhost, "max-queues", 1)
    channel = connect(vhost=vhost).channel()
    channel.call("queue.declare", queue="a")
    channel.call("queue.declare", queue="a")
    channel.send("queue.declare", queue="b")
    channel.expect_close(
        406, f"cannot declare queue 'b': queue limit in vhost '{vhost}' (1) is reached", "queue.declare"
    )
    channel.client.sock.close()
    admin.delete_vhost(vhost)


@pytest.fixture
def broker_user(channel: Channel) -> str:
    return channel.client.target.user
