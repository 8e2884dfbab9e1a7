"""Log lines as operators read and grep them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from amqpd.server.logs import NAME_LENGTH_MAX, ConnectionLog, Log, printable

CLIENT, SERVER = "127.0.0.1:5555", "127.0.0.1:5672"
ENDS = "127.0.0.1:5555 -> 127.0.0.1:5672"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def clock() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


def text_lines(stream: io.StringIO) -> list[str]:
    """Lines without their timestamps."""
    return [line.removeprefix("2026-01-02 03:04:05.678+00:00 ") for line in stream.getvalue().splitlines()]


def connection(stream: io.StringIO, form: str = "text") -> ConnectionLog:
    return ConnectionLog(Log("info", form, stream, clock), CLIENT, SERVER)


def test_life_of_a_connection_in_text() -> None:
    stream = io.StringIO()
    one = connection(stream)
    one.accepted()
    one.opened("guest", "/", "billing")
    one.channel_failed(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
    one.closed()
    assert text_lines(stream) == [
        f"[info] accepting AMQP connection {ENDS}",
        (f"[info] connection {ENDS} (billing): user 'guest' authenticated and granted access to vhost '/'"),
        (
            f"[error] Channel error on connection {ENDS}"
            " (billing, vhost: '/', user: 'guest'), channel 1: 404 NOT_FOUND - no queue 'q' in vhost '/'"
        ),
        f"[info] closing AMQP connection {ENDS} (billing, vhost: '/', user: 'guest')",
    ]


def test_connection_without_a_name_and_its_ends() -> None:
    stream = io.StringIO()
    one = connection(stream)
    one.cut("handshake_timeout")
    one.refused("PLAIN", "eve", "user 'eve' - invalid credentials")
    one.opened("guest", "/")
    one.failed(503, "COMMAND_INVALID - unknown exchange type 'x'", channel=1)
    one.client_unexpectedly_closed_tcp_connection()
    one.closed("CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
    assert text_lines(stream) == [
        f"[warning] closing AMQP connection {ENDS}: handshake_timeout",
        (
            f"[error] Error on AMQP connection {ENDS} (user: 'eve'):"
            " PLAIN login refused: user 'eve' - invalid credentials"
        ),
        (f"[info] connection {ENDS}: user 'guest' authenticated and granted access to vhost '/'"),
        (
            f"[error] Error on AMQP connection {ENDS} (vhost: '/', user: 'guest',"
            " state: running), channel 1: 503 COMMAND_INVALID - unknown exchange type 'x'"
        ),
        (
            f"[warning] closing AMQP connection {ENDS} (vhost: '/', user: 'guest'):"
            " client unexpectedly closed TCP connection"
        ),
        (
            f"[info] closing AMQP connection {ENDS} (vhost: '/', user: 'guest'):"
            " CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
        ),
    ]


def test_json_line_has_the_sentence_and_its_detail() -> None:
    stream = io.StringIO()
    one = connection(stream, "json")
    one.accepted(tls="TLSv1.3")
    one.opened("guest", "/", "b\u00fcro")
    one.failed(503, "COMMAND_INVALID", channel=3)
    found: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert found[0] == {
        "event": f"accepting AMQP connection {ENDS}",
        "level": "info",
        "timestamp": "2026-01-02T03:04:05.678+00:00",
        "client": CLIENT,
        "server": SERVER,
        "tls": "TLSv1.3",
    }
    assert (found[1]["name"], found[1]["user"], found[1]["vhost"]) == ("b\u00fcro", "guest", "/")
    assert (found[2]["level"], found[2]["code"], found[2]["channel"]) == ("error", 503, 3)


def test_client_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    one = connection(stream)
    one.opened("guest", "/\x1b[2J", "a\n2026-01-01 [info] forged\u2028x\r")
    one.closed()
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()
    assert "(a\\n2026-01-01 [info] forged\\u2028x\\r)" in stream.getvalue()


def test_stream_that_fails_stops_nobody() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = os.fdopen(write_end, "w")
    Log("info", "text", stream, clock).info("lost")
    with contextlib.suppress(BrokenPipeError):
        stream.close()
    Log("info", "text", stream, clock).info("lost, too")


def test_long_client_name_is_cut() -> None:
    stream = io.StringIO()
    connection(stream).opened("guest", "/", "n" * 100_000)
    assert len(stream.getvalue()) < NAME_LENGTH_MAX + 200


def test_printable_text_is_left_alone() -> None:
    text = "caf\u00e9 \u2603 'quoted' \\"
    assert printable(text) == text


def test_level_decides_and_can_be_changed() -> None:
    stream = io.StringIO()
    log = Log("warning", "text", stream, clock)
    log.info("no")
    log.warning("yes")
    assert not log.debugging
    log.set_level("debug")
    log.debug("now")
    assert log.debugging
    assert text_lines(stream) == ["[warning] yes", "[debug] now"]


def test_colours_are_for_terminals_in_auto_form_only() -> None:
    outputs = {}
    for name, form, stream in (
        ("auto", "auto", Terminal()),
        ("text", "text", Terminal()),
        ("pipe", "auto", io.StringIO()),
    ):
        Log("info", form, stream, clock).error("x")
        outputs[name] = stream.getvalue()
    assert "\x1b[31merror\x1b[0m" in outputs["auto"]
    assert "\x1b" not in outputs["text"]
    assert "\x1b" not in outputs["pipe"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_bug_of_ours_is_logged_with_its_traceback(form: str) -> None:
    stream = io.StringIO()
    try:
        raise AssertionError("queue lost an entry")
    except AssertionError as error:
        Log("info", form, stream, clock).exception("turn failed", error, queue="q")
    assert "AssertionError: queue lost an entry" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_sentence_with_percent_and_braces_is_not_formatted(form: str) -> None:
    stream = io.StringIO()
    Log("info", form, stream, clock).info("100%s {x}")
    assert "100%s {x}" in stream.getvalue()
