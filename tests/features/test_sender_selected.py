"""CC and BCC: further routing keys, and what consumers see of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.features.sender_selected import SenderSelected
from amqpd.spec.constants import FLAG_HEADERS
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, header_from_properties, with_headers
from amqpd.wire.table import Field, Table, encode_table, longstr
from tests.support.linked import Linked, LinkedClient
from tests.wire.strategies import same_table, tables

BARE = header_from_properties(b"\x18\x00\x02\x05", 3)  # delivery mode 2, priority 5


def keys_field(*keys: str) -> Field:
    return Field("A", [longstr(key) for key in keys])


def header(table: Table) -> ContentHeader:
    return with_headers(BARE, table)


def test_keys_of_both_headers_in_order() -> None:
    both = header({"BCC": keys_field("d"), "CC": keys_field("b", "c")})
    assert SenderSelected().extra_keys(both) == ["b", "c", "d"]


def test_elements_that_are_no_text_are_ignored() -> None:
    mixed = Field("A", [Field("I", 1), longstr("a"), Field("V", None), Field("x", b"b"), Field("A", [])])
    assert SenderSelected().extra_keys(header({"CC": mixed})) == ["a"]
    assert SenderSelected().extra_keys(header({"BCC": Field("A", [])})) == []


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (longstr("a"), "longstr"),
        (Field("I", 1), "signedint"),
        (Field("t", True), "bool"),
        (Field("V", None), "void"),
        (Field("F", {}), "table"),
    ],
)
@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_anything_but_an_array_is_refused(name: str, field: Field, kind: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        SenderSelected().extra_keys(header({name: field}))
    assert raised.value.text == f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}'


@given(tables)
def test_other_headers_ask_for_nothing_and_stay_as_they_are(table: Table) -> None:
    table = {name: field for name, field in table.items() if name not in ("CC", "BCC")}
    given_header = header(table)
    assert SenderSelected().extra_keys(given_header) == []
    stripped = SenderSelected().stripped(given_header)
    assert same_table(stripped.table(), table)


@given(tables, st.lists(st.text(max_size=10), max_size=3))
def test_only_bcc_is_taken_out(table: Table, keys: list[str]) -> None:
    table = {**table, "BCC": keys_field(*keys), "CC": keys_field("seen")}
    stripped = SenderSelected().stripped(header(table))
    del table["BCC"]
    assert same_table(stripped.table(), table)
    assert (stripped.persistent, stripped.priority, stripped.body_size) == (True, 5, 3)


def test_a_table_of_nothing_but_bcc_disappears() -> None:
    assert SenderSelected().stripped(header({"BCC": keys_field("a")})).payload == BARE.payload


def test_a_header_that_only_mentions_the_name_is_passed_on_untouched() -> None:
    mentioning = header({"text": Field("S", b"\x03BCC \x02CC"), "inner": Field("F", {"BCC": longstr("x")})})
    assert SenderSelected().extra_keys(mentioning) == []
    assert SenderSelected().stripped(mentioning) is mentioning


def test_a_header_without_a_table_asks_for_nothing() -> None:
    assert SenderSelected().extra_keys(BARE) == []
    assert SenderSelected().stripped(BARE) is BARE


# Through the broker.


def queues(client: LinkedClient, *names: str) -> None:
    for name in names:
        client.call("queue.declare", queue=name)


def got(client: LinkedClient, queue: str) -> list[dict[str, Any]]:
    """Headers of everything in ``queue``."""
    found: list[dict[str, Any]] = []
    while True:
        client.send("basic.get", queue=queue, no_ack=True)
        (came,) = client.received()
        if came.name == "basic.get-empty":
            return found
        found.append(came.properties.get("headers", {}))


def test_a_message_goes_to_all_its_keys_and_once_to_each_queue() -> None:
    client = Linked().client()
    queues(client, "a", "b", "c", "d")
    client.publish("", "a", b"x", {"headers": {"CC": ["b", "a", "b"], "BCC": ["c"]}})
    for name in "abc":
        assert got(client, name) == [{"CC": ["b", "a", "b"]}]
    assert got(client, "d") == []


def test_extra_keys_count_at_every_exchange_on_the_way() -> None:
    client = Linked().client()
    queues(client, "q")
    client.call("exchange.declare", exchange="one", type="fanout")
    client.call("exchange.declare", exchange="two", type="direct")
    client.call("exchange.bind", source="one", destination="two")
    client.call("queue.bind", exchange="two", queue="q", routing_key="copied")
    client.publish("one", "unknown", b"x", {"headers": {"CC": ["copied"]}})
    assert len(got(client, "q")) == 1


def test_a_key_that_is_no_utf8_reaches_nobody() -> None:
    client = Linked().client()
    queues(client, "q")
    table = encode_table({"CC": Field("A", [Field("S", b"\xff\xfe")])})
    properties = FLAG_HEADERS.to_bytes(2) + len(table).to_bytes(4) + table
    client.publish("", "q", b"x", properties)
    assert client.call("queue.declare", queue="q", passive=True)["message_count"] == 1


def test_a_refused_topic_that_is_no_utf8_is_answered() -> None:
    linked = Linked()
    linked.users.set_topic_permissions("guest", "/", "amq.topic", "^a$", ".*")
    client = linked.client()
    table = encode_table({"CC": Field("A", [Field("S", b"b\xff")])})
    properties = FLAG_HEADERS.to_bytes(2) + len(table).to_bytes(4) + table
    client.publish("amq.topic", "a", b"x", properties)
    close = client.expect("channel.close")
    assert close.values["reply_code"] == 403
    assert close.values["reply_text"].startswith("ACCESS_REFUSED - access to topic 'b?' in exchange 'amq.topic'")


def test_a_wrong_type_closes_the_channel() -> None:
    client = Linked().client()
    client.publish("", "q", b"x", {"headers": {"CC": "text"}})
    assert client.expect("channel.close").values["reply_code"] == 406
