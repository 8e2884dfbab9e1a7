"""Headers that cannot be understood close the publisher's channel; nothing of the message stays."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd_delayed_message import register
from amqpd_delayed_message.exchange import KIND
from tests.support.linked import Linked, LinkedClient


@pytest.fixture
def client() -> LinkedClient:
    client = Linked(plugins=[register]).client()
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments={"x-delayed-type": "fanout"})
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.bind", queue="q", exchange="x")
    return client


@pytest.mark.parametrize("mandatory", [False, True])
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"x-deliver-at": "2030-01-01T00:00:00"}, "invalid header 'x-deliver-at': it must be a timestamp"),
        ({"x-deliver-at": "9999-01-01T00:00:00Z"}, "invalid header 'x-deliver-at': it is more than ten years away"),
        ({"x-cron": "often"}, "invalid header 'x-cron': 'often' is not minute, hour"),
        ({"x-period": 5}, "invalid header 'x-period': it must be a whole number from 100"),
        ({"x-period": "soon", "x-delay": 50}, "invalid header 'x-period': it must be a whole number from 100"),
    ],
    ids=str,
)
def test_message_that_cannot_be_scheduled_is_refused(
    client: LinkedClient, headers: dict[str, Any], text: str, mandatory: bool
) -> None:
    client.publish("x", "", b"m", {"headers": headers, "delivery_mode": 2}, mandatory=mandatory)
    close = client.expect("channel.close").values
    assert close["reply_code"] == 406
    assert close["reply_text"].startswith(f"PRECONDITION_FAILED - {text}")
    linked = client.linked
    linked.advance(10_000)
    linked.settle()
    assert linked.broker.vhosts["/"].queues["q"].message_count() == 0


def test_valid_delay_goes_before_a_broken_time(client: LinkedClient) -> None:
    client.publish("x", "", b"m", {"headers": {"x-deliver-at": "soon", "x-delay": 50}})
    client.linked.advance(50)
    client.linked.settle()
    assert client.names() == []
    assert client.linked.broker.vhosts["/"].queues["q"].message_count() == 1
