"""Which queues a message reaches: the four exchange types, bindings between exchanges, CC and BCC.

Behaviour 1.10, and alternate exchanges and CC/BCC of 2.5. A message carries its own description as its body,
so that a queue's content says what matched.
"""

from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import Names

differs = pytest.mark.differs


def new_exchange(channel: Channel, name: Names, kind: str, **values: Any) -> str:
    exchange = name("e")
    channel.call("exchange.declare", exchange=exchange, type=kind, **values)
    return exchange


def new_queue(channel: Channel, name: Names) -> str:
    return str(channel.call("queue.declare", queue=name("q"))["queue"])


def reached(channel: Channel, name: Names, kind: str, binding: str, keys: list[str]) -> list[str]:
    """Those of the routing keys that one binding of an exchange of this type matches."""
    exchange, queue = new_exchange(channel, name, kind), new_queue(channel, name)
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=binding or "\0placeholder")
    if not binding:
        # An empty key with a named queue is an empty key; bind it for itself and take the other away.
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="")
        channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="\0placeholder")
    for key in keys:
        channel.publish(exchange, key, key.encode())
    return [body.decode() for body in channel.drain(queue)]


# direct and fanout


@pytest.mark.parametrize("binding", ["a", "", "a.b", "*", "#", "é"])
def test_direct_compares_the_whole_key(channel: Channel, name: Names, binding: str) -> None:
    keys = ["", "a", "A", "a.b", "ab", "*", "#", "é"]
    assert reached(channel, name, "direct", binding, keys) == [binding]


def test_fanout_ignores_the_key(channel: Channel, name: Names) -> None:
    assert reached(channel, name, "fanout", "a", ["", "a", "b"]) == ["", "a", "b"]


def test_direct_reaches_every_queue_bound_with_the_key(channel: Channel, name: Names) -> None:
    exchange = new_exchange(channel, name, "direct")
    queues = [new_queue(channel, name) for _ in range(3)]
    for queue in queues:
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.publish(exchange, "k", b"x")
    assert [channel.drain(queue) for queue in queues] == [[b"x"]] * 3


# topic

TOPIC_KEYS = [
    "",
    "a",
    "b",
    "A",
    ".",
    "a.",
    ".a",
    "a.b",
    "a..b",
    "a.x.b",
    "a.b.c",
    "a.x.y.b",
    "x.a",
    "a#",
    "*",
    "#",
]

TOPIC = [
    ("#", TOPIC_KEYS),
    ("*", ["a", "b", "A", "a#", "*", "#"]),
    ("", [""]),
    ("a", ["a"]),
    ("a.b", ["a.b"]),
    ("*.*", [".", "a.", ".a", "a.b", "x.a"]),
    ("a.*", ["a.", "a.b"]),
    ("*.a", [".a", "x.a"]),
    ("a.*.b", ["a..b", "a.x.b"]),
    ("a.#.b", ["a.b", "a..b", "a.x.b", "a.x.y.b"]),
    ("a.#", ["a", "a.", "a.b", "a..b", "a.x.b", "a.b.c", "a.x.y.b"]),
    ("#.a", ["a", ".a", "x.a"]),
    ("#.b", ["b", "a.b", "a..b", "a.x.b", "a.x.y.b"]),
    ("#.#", TOPIC_KEYS),
    ("*.#", [key for key in TOPIC_KEYS if key]),
    ("#.*", [key for key in TOPIC_KEYS if key]),
    ("*.#.*", [key for key in TOPIC_KEYS if "." in key]),
    ("#.x.#", ["a.x.b", "a.x.y.b", "x.a"]),
    ("a#", ["a#"]),
    ("a.*.*.b", ["a.x.y.b"]),
    (".", ["."]),
]


@pytest.mark.parametrize(("binding", "wanted"), TOPIC, ids=lambda value: repr(value)[:20])
def test_topic_matches_words(channel: Channel, name: Names, binding: str, wanted: list[str]) -> None:
    assert reached(channel, name, "topic", binding, TOPIC_KEYS) == wanted


def test_several_matching_topic_bindings_make_one_copy(channel: Channel, name: Names) -> None:
    exchange, queue = new_exchange(channel, name, "topic"), new_queue(channel, name)
    for key in ("a.b", "a.*", "*.b", "#", "a.#"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.publish(exchange, "a.b", b"x")
    assert channel.drain(queue) == [b"x"]


def test_unbound_topic_pattern_matches_no_more(channel: Channel, name: Names) -> None:
    exchange, queue = new_exchange(channel, name, "topic"), new_queue(channel, name)
    for key in ("a.#", "a.b"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="a.#")
    for key in ("a.b", "a.c"):
        channel.publish(exchange, key, key.encode())
    assert channel.drain(queue) == [b"a.b"]


# headers

ONE = {"a": 1}
BOTH = {"a": 1, "b": "two"}

HEADERS: list[tuple[str, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = [
    # what, binding arguments, headers that match, headers that do not
    ("all is the default", BOTH, [BOTH, {**BOTH, "c": 3}], [ONE, {}, {"a": 1, "b": "TWO"}]),
    ("all", {"x-match": "all", **BOTH}, [BOTH], [ONE, {}]),
    ("any", {"x-match": "any", **BOTH}, [ONE, BOTH, {"b": "two"}], [{}, {"a": 2}, {"c": 1}]),
    ("all skips x- keys", {"x-match": "all", "a": 1, "x-b": 2}, [ONE, {"a": 1, "x-b": 3}], [{"x-b": 2}]),
    ("any skips x- keys", {"x-match": "any", "a": 1, "x-b": 2}, [ONE], [{"x-b": 2}]),
    ("all-with-x", {"x-match": "all-with-x", "a": 1, "x-b": 2}, [{"a": 1, "x-b": 2}], [ONE, {"x-b": 2}]),
    ("any-with-x", {"x-match": "any-with-x", "a": 1, "x-b": 2}, [ONE, {"x-b": 2}], [{}, {"x-b": 3}]),
    ("void: the key exists", {"a": None}, [{"a": 1}, {"a": None}, {"a": "x"}], [{}, {"b": 1}]),
    ("void with any", {"x-match": "any", "a": None, "b": 1}, [{"a": 5}, {"b": 1}], [{"b": 2}]),
    ("all of nothing", {"x-match": "all"}, [{}, ONE], []),
    ("any of nothing", {"x-match": "any"}, [], [{}, ONE]),
    ("no arguments", {}, [{}, ONE], []),
    ("integers of any width", {"a": 1}, [{"a": Typed("b", 1)}, {"a": Typed("l", 1)}], [{"a": 2}]),
    ("no string for a number", {"a": 1}, [], [{"a": "1"}, {"a": True}]),
    ("no number for a string", {"a": "1"}, [{"a": "1"}], [{"a": 1}]),
    ("booleans", {"a": True}, [{"a": True}], [{"a": False}, {"a": "true"}, {"a": 1}]),
    ("tables", {"a": {"b": 1}}, [{"a": {"b": 1}}], [{"a": {"b": 2}}, {"a": {}}]),
    ("arrays", {"a": [1, "x"]}, [{"a": [1, "x"]}], [{"a": ["x", 1]}, {"a": [1]}]),
    ("timestamps", {"a": Typed("T", 5)}, [{"a": Typed("T", 5)}], [{"a": Typed("T", 6)}]),
]


@pytest.mark.parametrize(
    ("binding", "matching", "others"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
def test_headers_exchange_compares_the_binding_arguments(
    channel: Channel,
    name: Names,
    binding: dict[str, Any],
    matching: list[dict[str, Any]],
    others: list[dict[str, Any]],
) -> None:
    assert _headers_reached(channel, name, binding, [*matching, *others]) == [str(h) for h in matching]


@differs(facts.HEADER_NUMBERS)
def test_headers_exchange_tells_integers_from_floats(channel: Channel, name: Names) -> None:
    assert _headers_reached(channel, name, {"a": 1}, [{"a": 1.0}, {"a": 1}]) == ["{'a': 1}"]


def _headers_reached(
    channel: Channel, name: Names, binding: dict[str, Any], headers: list[dict[str, Any]]
) -> list[str]:
    exchange, queue = new_exchange(channel, name, "headers"), new_queue(channel, name)
    channel.call("queue.bind", queue=queue, exchange=exchange, arguments=binding)
    for values in headers:
        channel.publish(exchange, "ignored", str(values).encode(), {"headers": values})
    return [body.decode() for body in channel.drain(queue)]


def test_message_without_headers_matches_only_all_of_nothing(channel: Channel, name: Names) -> None:
    exchange, queue = new_exchange(channel, name, "headers"), new_queue(channel, name)
    channel.call("queue.bind", queue=queue, exchange=exchange, arguments={"x-match": "all"})
    second = new_queue(channel, name)
    channel.call("queue.bind", queue=second, exchange=exchange, arguments={"a": 1})
    channel.publish(exchange, "", b"x")
    assert (channel.drain(queue), channel.drain(second)) == ([b"x"], [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "nosuch",
            'Invalid x-match field value <<"nosuch">>; expected all, any, all-with-x, or any-with-x',
        ),
        (1, "Invalid x-match field type signedint (value 1); expected longstr"),
    ],
    ids=repr,
)
def test_bad_x_match_is_refused(channel: Channel, queue: str, value: Any, text: str) -> None:
    channel.refused(406, text, "queue.bind", queue=queue, exchange="amq.headers", arguments={"x-match": value})


# Bindings between exchanges and alternates


def test_message_follows_bindings_between_exchanges_of_all_types(channel: Channel, name: Names) -> None:
    first = new_exchange(channel, name, "topic")
    second = new_exchange(channel, name, "direct")
    third = new_exchange(channel, name, "fanout")
    queue = new_queue(channel, name)
    channel.call("exchange.bind", destination=second, source=first, routing_key="a.*")
    channel.call("exchange.bind", destination=third, source=second, routing_key="a.b")
    channel.call("queue.bind", queue=queue, exchange=third)
    for key in ("a.b", "a.c", "b.b"):
        channel.publish(first, key, key.encode())
    assert channel.drain(queue) == [b"a.b"]


def test_queue_reached_by_two_ways_gets_one_copy(channel: Channel, name: Names) -> None:
    source = new_exchange(channel, name, "fanout")
    queue = new_queue(channel, name)
    for _ in range(2):
        middle = new_exchange(channel, name, "fanout")
        channel.call("exchange.bind", destination=middle, source=source)
        channel.call("queue.bind", queue=queue, exchange=middle)
    channel.call("queue.bind", queue=queue, exchange=source)
    channel.publish(source, "k", b"x")
    assert channel.drain(queue) == [b"x"]


def test_alternate_is_tried_for_each_exchange_on_the_way(channel: Channel, name: Names) -> None:
    alternate = new_exchange(channel, name, "fanout")
    source = new_exchange(channel, name, "fanout")
    dead_end = new_exchange(channel, name, "direct", arguments={"alternate-exchange": alternate})
    main, rest = new_queue(channel, name), new_queue(channel, name)
    channel.call("exchange.bind", destination=dead_end, source=source)
    channel.call("queue.bind", queue=main, exchange=source)
    channel.call("queue.bind", queue=rest, exchange=alternate)
    channel.publish(source, "k", b"x")
    assert (channel.drain(main), channel.drain(rest)) == ([b"x"], [b"x"])


def test_alternate_is_not_tried_when_a_binding_matches(channel: Channel, name: Names) -> None:
    alternate = new_exchange(channel, name, "fanout")
    exchange = new_exchange(channel, name, "direct", arguments={"alternate-exchange": alternate})
    main, rest = new_queue(channel, name), new_queue(channel, name)
    channel.call("queue.bind", queue=main, exchange=exchange, routing_key="k")
    channel.call("queue.bind", queue=rest, exchange=alternate)
    channel.publish(exchange, "k", b"1")
    channel.publish(exchange, "other", b"2")
    assert (channel.drain(main), channel.drain(rest)) == ([b"1"], [b"2"])


def test_alternates_may_form_a_cycle(channel: Channel, name: Names) -> None:
    one, two = name("e"), name("e")
    for exchange, alternate in ((one, two), (two, one)):
        arguments = {"alternate-exchange": alternate}
        channel.call("exchange.declare", exchange=exchange, type="direct", arguments=arguments)
    channel.publish(one, "k", b"x", mandatory=True)
    assert channel.message("basic.return").method["exchange"] == one


# CC and BCC


def test_cc_and_bcc_are_further_routing_keys(channel: Channel, name: Names) -> None:
    queues = [new_queue(channel, name) for _ in range(4)]
    headers = {"CC": [queues[1], queues[0]], "BCC": [queues[2], 5]}
    channel.publish("", queues[0], b"x", {"headers": headers})
    assert [channel.drain(queue) for queue in queues] == [[b"x"], [b"x"], [b"x"], []]


def test_bcc_is_removed_and_the_first_key_is_shown(channel: Channel, name: Names) -> None:
    first, second = new_queue(channel, name), new_queue(channel, name)
    headers = {"CC": ["nowhere"], "BCC": [second], "a": 1}
    channel.publish("", first, b"x", {"headers": headers})
    message = channel.get(second)
    assert message is not None
    assert message.headers == {"CC": ["nowhere"], "a": 1}
    assert message.method["routing_key"] == first


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_cc_that_is_not_an_array_is_refused(channel: Channel, header: str) -> None:
    channel.publish_refused(
        406,
        f'invalid message: {{unacceptable_type_in_header,"{header}",longstr}}',
        "",
        "no-such-queue",
        properties={"headers": {header: "k"}},
    )


def test_cc_counts_for_mandatory(channel: Channel, queue: str) -> None:
    channel.publish("", "no-such-queue", b"x", {"headers": {"CC": [queue]}}, mandatory=True)
    assert channel.drain(queue) == [b"x"]
    channel.expect_nothing()
