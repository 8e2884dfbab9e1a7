"""Recurring messages through a whole broker: each time they come, over restarts, and what ends them."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register
from amqpd_delayed_message.exchange import KIND
from interop.conformance.codec import Typed
from tests.support.linked import START_MS, Linked, LinkedClient

HOUR = 3_600_000
BEFORE_ONE = HOUR - START_MS  # until 1970-01-01 01:00


def site(**arguments: Any) -> LinkedClient:
    client = Linked(MemoryStore(), plugins=[register]).client()
    table = {"x-delayed-type": "fanout"} | {name.replace("_", "-"): value for name, value in arguments.items()}
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments=table)
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.bind", queue="q", exchange="x")
    return client


def publish(client: LinkedClient, body: bytes = b"m", /, **headers: Any) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client.publish("x", "", body, {"headers": named, "message_id": "m", "delivery_mode": 2})
    client.linked.settle()


def came(client: LinkedClient, milliseconds: int = 0) -> int:
    """How many came by then."""
    client.linked.advance(milliseconds)
    client.linked.settle()
    return int(client.call("queue.purge", queue="q")["message_count"])


def again(client: LinkedClient, away: int = 0, crash: bool = True) -> LinkedClient:
    """A client of the broker after a restart."""
    linked = client.linked
    assert isinstance(linked.store, MemoryStore)
    linked.settle()
    now = linked.broker.now + away
    if crash:
        linked.crash()
    else:
        linked.stop()
    restarted = Linked(MemoryStore(linked.store.disk), now, plugins=[register])
    restarted.settle()
    return restarted.client()


def waiting(client: LinkedClient) -> int:
    broker = client.linked.broker
    rows: Any = broker.registry.commands["delayed stats"].run(broker, {})
    return int(rows[0]["waiting"])


def test_period_without_an_end_goes_on() -> None:
    client = site()
    publish(client, x_period=1000)
    assert [came(client, 1000) for _ in range(20)] == [1] * 20
    assert waiting(client) == 1


@pytest.mark.parametrize("crash", [True, False])
def test_count_of_times_survives_a_restart(crash: bool) -> None:
    client = site()
    publish(client, x_period=1000, x_repeat=4)
    assert came(client, 2500) == 2
    client = again(client, crash=crash)
    assert [came(client, 500), came(client, 1000), came(client, 5000)] == [1, 1, 0]
    assert waiting(client) == 0


def test_times_missed_while_the_broker_was_down_come_once_and_keep_the_grid() -> None:
    client = site()
    publish(client, x_period=1000)
    client = again(client, away=10_300)
    assert came(client) == 1
    assert [came(client, 699), came(client, 1), came(client, 1000)] == [0, 1, 1]


def test_missed_time_is_left_out_where_the_exchange_skips() -> None:
    client = site(x_delayed_overdue="skip")
    publish(client, x_period=1000)
    client = again(client, away=10_300)
    assert [came(client), came(client, 700)] == [0, 1]


def test_cron_expression_goes_by_the_clock_of_its_zone() -> None:
    client = site()
    publish(client, x_cron="0 * * * *", x_repeat=2)
    publish(client, x_cron="30 5 * * *", x_cron_timezone="Asia/Kolkata")  # 00:00 in UTC, five and a half hours ahead
    assert [came(client, BEFORE_ONE - 1), came(client, 1)] == [0, 1]
    assert [came(client, HOUR), came(client, HOUR)] == [1, 0]
    assert [came(client, 21 * HOUR - 1), came(client, 1), came(client, 24 * HOUR)] == [0, 1, 1]


@pytest.mark.parametrize(
    "first", [{"x_delay": 300}, {"x_deliver_at": Typed("l", START_MS + 300)}], ids=["x-delay", "x-deliver-at"]
)
def test_delay_says_when_the_first_one_comes(first: dict[str, Any]) -> None:
    client = site()
    publish(client, x_period=1000, x_repeat=2, **first)
    assert [came(client, 299), came(client, 1), came(client, 999), came(client, 1), came(client, 5000)] == [
        0,
        1,
        0,
        1,
        0,
    ]


def test_each_one_is_the_message_without_what_makes_it_recur() -> None:
    client = site()
    publish(client, b"body", x_period=100, x_repeat=2, x_delay=50, kept="yes")
    client.send("basic.consume", queue="q", no_ack=True)
    client.linked.advance(200)
    client.linked.settle()
    came = [one for one in client.received() if one.name == "basic.deliver"]
    assert [(one.body, one.properties["message_id"]) for one in came] == [(b"body", "m")] * 2
    assert [one.properties["headers"] for one in came] == [{"x-delay": -50, "kept": "yes"}] * 2


def test_second_delayed_exchange_does_not_make_it_recur_again() -> None:
    client = site()
    client.call("exchange.declare", exchange="y", type=KIND, arguments={"x-delayed-type": "fanout"})
    client.call("queue.unbind", queue="q", exchange="x")
    client.call("exchange.bind", destination="y", source="x")
    client.call("queue.bind", queue="q", exchange="y")
    publish(client, x_period=100, x_repeat=3)
    assert came(client, 10_000) == 3


def test_cancel_ends_it() -> None:
    client = site()
    publish(client, x_period=1000)
    assert came(client, 1000) == 1
    publish(client, b"", x_delay_cancel="m")
    assert came(client, 10_000) == 0
    assert waiting(client) == 0


def test_it_goes_on_while_no_queue_is_bound() -> None:
    client = site()
    publish(client, x_period=1000)
    client.call("queue.unbind", queue="q", exchange="x")
    assert came(client, 3000) == 0
    client.call("queue.bind", queue="q", exchange="x")
    assert came(client, 1000) == 1
