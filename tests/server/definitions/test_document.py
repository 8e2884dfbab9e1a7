"""Reading a file as a whole: what is definitions, what it is cut into, what goes into one vhost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amqpd.server.definitions.document import (
    KEYS,
    LABELS,
    SECTIONS,
    Document,
    NotDefinitions,
    joined,
    key,
    label,
    read_document,
)
from amqpd.server.definitions.importing import TAKE


def test_each_section_is_known_everywhere() -> None:
    assert set(SECTIONS) == set(KEYS) == set(LABELS) == set(TAKE)


def test_sections_and_version_are_read() -> None:
    text = json.dumps({"rabbit_version": "3.10.8", "queues": [{"name": "q"}], "x": 1, "users": []})
    document = read_document(text.encode())
    assert document.sections == {"queues": [{"name": "q"}], "users": []}
    assert document.version == "3.10.8"


def test_version_alone_is_a_document_without_entries() -> None:
    assert list(read_document('{"rabbitmq_version": "3.13.7"}').entries()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON: "),
        (b"queues = 1", "not JSON: "),
        (b'{"queues": [', "not JSON: "),
        (b"\xff\xfe\x00", "not JSON: "),
        (b'{"queues": [NaN]}', "NaN is no number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1, 2]", "not definitions: the JSON is no object"),
        (b"null", "not definitions: the JSON is no object"),
        (b"{}", "none of users, vhosts"),
        (b'{"foo": []}', "none of users, vhosts"),
        (b'{"queues": {}}', "'queues' is no list"),
        (b'{"queues": [], "users": null}', "'users' is no list"),
    ],
)
def test_what_is_no_definitions_is_refused_in_one_line(text: bytes, said: str) -> None:
    with pytest.raises(NotDefinitions) as caught:
        read_document(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_definitions_of_one_vhost_go_into_another() -> None:
    document = read_document(
        json.dumps({"rabbit_version": "3", "queues": [{"name": "q"}], "policies": [{"name": "p", "vhost": "old"}]})
    )
    assert document.of_one_vhost
    assert document.lacks_vhost()
    assert document.into("new").sections == {
        "queues": [{"name": "q", "vhost": "new"}],
        "policies": [{"name": "p", "vhost": "new"}],
    }


def test_of_a_whole_export_goes_what_belongs_to_the_vhost() -> None:
    sections: dict[str, list[Any]] = {
        "users": [{"name": "u"}],
        "vhosts": [{"name": "a"}, {"name": "b"}],
        "permissions": [],
        "queues": [{"name": "1", "vhost": "a"}, {"name": "2", "vhost": "b"}],
        "global_parameters": [{"name": "g"}],
    }
    document = Document(sections)
    assert not document.of_one_vhost
    assert not document.lacks_vhost()
    assert document.into("b").sections == {"queues": [{"name": "2", "vhost": "b"}]}


def test_pieces_hold_every_entry_once_and_in_order() -> None:
    sections: dict[str, list[Any]] = {
        "bindings": [{"n": number} for number in range(50)],
        "users": [{"name": "x" * 500}],
        "queues": [{"name": str(number)} for number in range(50)],
    }
    document = Document(sections)
    pieces = list(document.pieces(100))
    assert all(len(json.dumps(piece)) < 300 or "users" in piece for piece in pieces)
    rebuilt = joined(Document(piece) for piece in pieces)
    assert rebuilt.sections == sections
    assert list(rebuilt.entries()) == list(document.entries())
    assert list(pieces[0]) == ["users"]
    assert len(list(document.pieces(10_000_000))) == 1
    assert list(Document().pieces(10)) == []


def test_plain_password_becomes_a_hash_and_a_hash_stays() -> None:
    users = [
        {"name": "a", "password": "pw"},
        {"name": "b", "password_hash": "h", "password": "ignored"},
        {"name": "c", "password": ""},
        {"name": "d"},
        5,
    ]
    document = Document({"users": users}).with_hashes(lambda password: {"password_hash": password.upper()})
    assert document.sections["users"] == [
        {"name": "a", "password_hash": "PW"},
        users[1],
        {"name": "c", "password_hash": ""},
        {"name": "d"},
        5,
    ]


def test_entry_is_named_in_one_line_whatever_it_holds() -> None:
    assert label("queues", {"name": "a\nb", "vhost": "/"}) == "queue 'a b' in vhost '/'"
    assert label("queues", {"name": 5}) == "queue 5"
    assert label("queues", {}) == "queue without name"
    assert label("queues", 7) == "an entry of queues"
    assert label("queues", {"name": "\ud800"}).encode() == b"queue '?'"
    assert label("permissions", {"user": "u", "vhost": "v"}) == "permissions of user 'u' in vhost 'v'"
    binding = {"source": "e", "destination": "q", "destination_type": "queue", "routing_key": "k", "vhost": "/"}
    assert label("bindings", binding) == "binding from exchange 'e' to queue 'q' with key 'k' in vhost '/'"
    assert label("parameters", {"component": "vhost-limits", "name": "l"}) == "vhost-limits 'l'"
    assert all("\n" not in label(section, {"name": ["\n"], "component": "\n"}) for section in SECTIONS)


def test_binding_has_one_key_however_much_it_leaves_out() -> None:
    short = {"source": "e", "vhost": "/", "destination": "q"}
    long = short | {"destination_type": "queue", "routing_key": "", "arguments": {}}
    assert key("bindings", short) == key("bindings", long) != key("bindings", long | {"arguments": {"x": 1}})
