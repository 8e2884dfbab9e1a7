"""What sessions report, on its way to the log."""

from __future__ import annotations

import io

import pytest

from amqpd.server.logs import Log
from amqpd.server.session_log import ConnectionLogs
from tests.support.linked import Linked, method


def test_a_consumer_that_timed_out_leaves_a_line() -> None:
    linked = Linked(consumer_timeout_ms=1000)
    lines = io.StringIO()
    linked.environment.log = ConnectionLogs(Log("warning", "text", lines))
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="slow")
    client.publish("", "q", b"x")
    linked.advance(1100)
    (line,) = lines.getvalue().splitlines()
    assert "Consumer 'slow' cancelled on connection" in line
    assert "messages of queue 'q' in vhost '/' were not acknowledged within 1000 ms and went back to it" in line


@pytest.mark.parametrize(
    "end",
    [
        [method("connection.close", 0, reply_code=200, reply_text="", class_id=0, method_id=0)],
        [method("basic.publish", immediate=True), method("connection.close-ok", 0)],  # 540
        [method("basic.publish", immediate=True)],
    ],
)
def test_nothing_is_kept_of_a_connection_that_ended(end: list[bytes]) -> None:
    linked = Linked()
    logs = ConnectionLogs(Log("info", "text", io.StringIO()))
    linked.environment.log = logs
    client = linked.client()
    for data in end:
        client.feed(data)
    client.hang_up()
    assert not linked.broker.connections
    assert not logs._logs
