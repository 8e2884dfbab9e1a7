"""Recordings of connections: every frame decoded, as the test took it, and whatever cannot be decoded as octets."""

import json
from pathlib import Path
from typing import Any

import pytest

from interop.conformance.codec import (
    BODY,
    FRAME_END,
    HEADER,
    HEARTBEAT,
    METHOD,
    METHODS,
    Typed,
    encode_arguments,
    encode_properties,
)
from interop.conformance.recording import OCTETS, TEXT_OCTETS, Connection, Scenario, aside, begin, decoded, recorded


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFORMANCE_RECORD", str(tmp_path / "frames"))
    return tmp_path / "frames"


@pytest.fixture
def connection() -> Connection:
    return Connection(Scenario("s"), lambda: None)


def method(name: str, **values: Any) -> bytes:
    return encode_arguments(METHODS[name], values)


def header(size: int, properties: dict[str, Any]) -> bytes:
    return (60).to_bytes(2, "big") + b"\0\0" + size.to_bytes(8, "big") + encode_properties(properties)


def test_a_method_has_its_arguments_and_tables_have_types() -> None:
    payload = method("queue.bind", queue="q", arguments={"n": Typed("s", 5), "t": {"a": ["x"]}})
    item = decoded(METHOD, 3, payload)
    assert (item["channel"], item["method"], item["arguments"]["queue"]) == (3, "queue.bind", "q")
    assert item["arguments"]["arguments"] == {"n": ("s", 5), "t": ("F", {"a": ("A", [("S", "x")])})}


def test_a_header_has_size_and_properties() -> None:
    item = decoded(HEADER, 1, header(7, {"priority": 4}))
    assert item == {"channel": 1, "header": 60, "size": 7, "properties": {"priority": 4}}


def test_a_short_body_is_text_and_a_long_one_a_digest() -> None:
    short, long = decoded(BODY, 1, b"ab"), decoded(BODY, 1, bytes(TEXT_OCTETS + 1))
    assert (short["body"], short["text"]) == (2, "ab")
    assert long["body"] == TEXT_OCTETS + 1
    assert "text" not in long
    assert short["digest"] != long["digest"]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (METHOD, b"\0\x32"),
        (METHOD, b"\0\x63\0\x0a"),
        (METHOD, method("queue.purge", queue="q")[:-2]),
        (METHOD, method("queue.purge", queue="q") + b"more"),
        (METHOD, method("queue.purge", queue=b"\xff")),
        (HEADER, b"abc"),
        (7, b"abc"),
    ],
)
def test_what_cannot_be_decoded_is_octets(kind: int, payload: bytes) -> None:
    item = decoded(kind, 1, payload)
    assert (item["frame_type"], item["channel"]) == (kind, 1)
    assert item["octets"]


def test_of_many_octets_there_are_the_first_and_a_digest() -> None:
    one, other = (decoded(7, 1, bytes(OCTETS) + end)["octets"] for end in (b"a", b"b"))
    assert one != other


def test_both_sides_are_recorded_but_for_heartbeats_of_the_server(connection: Connection) -> None:
    connection.sent(METHOD, 1, method("basic.qos"), FRAME_END)
    connection.received(HEARTBEAT, 0, b"")
    connection.received(METHOD, 1, method("basic.qos-ok"))
    assert [(item["from"], item["method"]) for item in connection.items] == [
        ("client", "basic.qos"),
        ("server", "basic.qos-ok"),
    ]


def test_a_frame_that_is_put_back_was_not_taken(connection: Connection) -> None:
    connection.received(METHOD, 1, method("basic.qos-ok"))
    connection.put_back()
    assert connection.items == []


def test_the_end_is_recorded_once(connection: Connection) -> None:
    connection.ended()
    connection.ended()
    assert connection.items == [{"from": "server", "end": True}]


def test_a_wrong_end_of_a_frame_is_part_of_it(connection: Connection) -> None:
    connection.sent(HEARTBEAT, 0, b"", 0)
    assert connection.items[0]["frame_end"] == 0


def test_a_scenario_is_a_line_with_its_connections(file: Path) -> None:
    with recorded(Scenario("one")):
        first, second = begin(lambda: None), begin(lambda: None)
        assert first is not None
        assert second is not None
        second.sent_octets(b"\0\xff")
        with aside():
            assert begin(lambda: None) is None
    assert begin(lambda: None) is None
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == {
        "scenario": "one",
        "differs": "",
        "skipped": "",
        "failed": False,
        "connections": [[], [{"from": "client", "octets": "\\x00\\xff"}]],
    }


def test_a_scenario_that_is_left_out_has_no_frames(file: Path) -> None:
    scenario = Scenario("one")
    with recorded(scenario):
        assert begin(lambda: None) is not None
        scenario.skipped = "chance"
    assert json.loads(file.read_text())["connections"] == []


def test_nothing_is_recorded_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFORMANCE_RECORD", raising=False)
    with recorded(Scenario("one")):
        assert begin(lambda: None) is None


def test_a_finished_scenario_asks_its_connections_for_what_is_still_to_come() -> None:
    scenario, asked = Scenario("s"), []
    scenario.connections = [
        Connection(scenario, lambda: asked.append(1)),
        Connection(scenario, lambda: asked.append(2)),
    ]
    scenario.finish()
    assert asked == [1, 2]
