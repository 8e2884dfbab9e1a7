"""A consumer publishes a dead letter again with its headers: counts go on, but made-up circles hold nothing up.

RabbitMQ up to 3.13 takes the x-death that a client sends for its own. Retries count on that; 4.0 no longer does it.
"""

import datetime as dt
from typing import Any

import pika

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import death_counts, get_soon, wait_a_little

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
QUEUE, DEAD, SELF = "interop.again", "interop.again_dead", "interop.again_self"


def to(queue: str) -> dict[str, Any]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


def reject(channel: Any) -> tuple[Any, pika.BasicProperties, str]:
    """Reject the next message of QUEUE and take it from DEAD."""
    method = None
    while method is None:
        method, _properties, _body = channel.basic_get(QUEUE)
    channel.basic_reject(method.delivery_tag, requeue=False)
    return get_soon(channel, DEAD)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE, DEAD, SELF]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(DEAD)
        channel.queue_declare(QUEUE, arguments=to(DEAD))
        channel.queue_declare(SELF, arguments=to(DEAD) | {"x-message-ttl": 50})
        channel.basic_publish("", QUEUE, b"x")
        first = reject(channel)[1]
        channel.basic_publish("", QUEUE, b"x", first)
        _method, before, _body = channel.basic_get(QUEUE)
        channel.basic_recover(requeue=True)
        second = reject(channel)[1]
        row = {"count": 7, "reason": "expired", "queue": DEAD, "time": LONG_AGO, "exchange": ""}
        made_up = pika.BasicProperties(headers={"x-death": [row | {"routing-keys": [SELF]}]})
        channel.basic_publish("", SELF, b"x", made_up)
        wait_a_little(channel, DEAD, 1, 3.0)  # Up to 3.13 it does not come.
        third = channel.basic_get(DEAD, auto_ack=True)[1] or pika.BasicProperties()
        channel.basic_publish("", SELF, b"x", pika.BasicProperties(headers={"x-death": "what is this"}))
        fourth = get_soon(channel, DEAD)[1]
        return {
            "dead": death_counts(first),
            "published again": death_counts(before),
            "dead again": death_counts(second),
            "with a death that never was": death_counts(third),
            "not a table": death_counts(fourth),
        }


EXPECTED: Json = {
    "dead": ["interop.again rejected 1"],
    "published again": ["interop.again rejected 1"],
    "dead again": ["interop.again rejected 2"],
    "with a death that never was": ["interop.again_self expired 1", "interop.again_dead expired 7"],
    "not a table": ["interop.again_self expired 1"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
