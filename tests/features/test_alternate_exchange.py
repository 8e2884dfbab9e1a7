"""Alternate exchange: where a message goes when no binding matched."""

from __future__ import annotations

import pytest

from tests.support.linked import Linked, LinkedClient


def declare(client: LinkedClient, name: str, alternate: str = "", kind: str = "direct") -> None:
    arguments = {"alternate-exchange": alternate} if alternate else {}
    client.call("exchange.declare", exchange=name, type=kind, arguments=arguments)


def bound(client: LinkedClient, exchange: str, queue: str, routing_key: str = "") -> None:
    client.call("queue.declare", queue=queue)
    client.call("queue.bind", exchange=exchange, queue=queue, routing_key=routing_key)


def counts(client: LinkedClient, *names: str) -> list[int]:
    return [client.call("queue.declare", queue=name, passive=True)["message_count"] for name in names]


@pytest.fixture
def client() -> LinkedClient:
    return Linked().client()


def test_only_what_no_binding_matched_goes_there(client: LinkedClient) -> None:
    declare(client, "alternate", kind="fanout")
    declare(client, "x", "alternate")
    bound(client, "x", "known", "key")
    bound(client, "alternate", "rest")
    client.publish("x", "key", b"1")
    client.publish("x", "other", b"2")
    client.publish("x", "another", b"3")
    assert counts(client, "known", "rest") == [1, 2]


def test_a_chain_ends_where_something_matches(client: LinkedClient) -> None:
    declare(client, "a", "b")
    declare(client, "b", "c")
    declare(client, "c", kind="fanout")
    bound(client, "c", "last")
    client.publish("a", "key", b"1")
    assert counts(client, "last") == [1]
    bound(client, "b", "middle", "key")
    client.publish("a", "key", b"2")
    assert counts(client, "middle", "last") == [1, 1]


def test_a_cycle_ends(client: LinkedClient) -> None:
    declare(client, "a", "b")
    declare(client, "b", "a")
    declare(client, "self", "self")
    for exchange in ("a", "self"):
        client.publish(exchange, "key", b"1", mandatory=True)
        assert client.names() == ["basic.return"]


def test_a_mandatory_message_that_reaches_a_queue_there_is_not_returned(client: LinkedClient) -> None:
    declare(client, "alternate", kind="fanout")
    declare(client, "x", "alternate")
    client.publish("x", "key", b"1", mandatory=True)
    returned = client.expect("basic.return")
    assert (returned.values["exchange"], returned.values["routing_key"]) == ("x", "key")
    bound(client, "alternate", "q")
    client.publish("x", "key", b"2", mandatory=True)
    assert client.names() == []
    assert counts(client, "q") == [1]


def test_an_exchange_declared_later_is_found_and_one_deleted_is_not(client: LinkedClient) -> None:
    declare(client, "x", "later")
    client.publish("x", "key", b"1", mandatory=True)
    assert client.names() == ["basic.return"]
    declare(client, "later", kind="fanout")
    bound(client, "later", "q")
    client.publish("x", "key", b"2", mandatory=True)
    assert client.names() == []
    client.call("exchange.delete", exchange="later")
    client.publish("x", "key", b"3", mandatory=True)
    assert client.names() == ["basic.return"]
    assert counts(client, "q") == [1]


def test_it_counts_at_exchanges_on_the_way(client: LinkedClient) -> None:
    """A binding to an exchange that routes nowhere matched; that exchange's alternate takes over."""
    declare(client, "entry", "unused", kind="fanout")
    declare(client, "unused", kind="fanout")
    declare(client, "inner", "rest")
    declare(client, "rest", kind="fanout")
    client.call("exchange.bind", source="entry", destination="inner")
    bound(client, "rest", "q")
    bound(client, "unused", "none")
    client.publish("entry", "key", b"1")
    assert counts(client, "q", "none") == [1, 0]


def test_a_headers_exchange_on_the_way_is_asked_for_every_message(client: LinkedClient) -> None:
    declare(client, "x", "alternate")
    declare(client, "alternate", kind="headers")
    client.call("queue.declare", queue="q")
    client.call("queue.bind", exchange="alternate", queue="q", arguments={"a": 1})
    for value in (1, 2, 1):
        client.publish("x", "key", b"1", {"headers": {"a": value}})
    assert counts(client, "q") == [2]


def test_copies_count_before_it(client: LinkedClient) -> None:
    declare(client, "alternate", kind="fanout")
    declare(client, "x", "alternate")
    bound(client, "x", "copy", "cc")
    bound(client, "alternate", "rest")
    client.publish("x", "unknown", b"1", {"headers": {"CC": ["cc"]}})
    assert counts(client, "copy", "rest") == [1, 0]


def test_a_name_of_the_wrong_type_is_refused(client: LinkedClient) -> None:
    client.send("exchange.declare", exchange="x", type="direct", arguments={"alternate-exchange": 5})
    assert client.expect("channel.close").values["reply_code"] == 406
