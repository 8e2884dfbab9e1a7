"""The x-death headers: every field with its AMQP type, for each reason, and what else a death changes."""

import time
from typing import Any

import pika

from interop.blocking import WAIT_SECONDS, connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.conformance.codec import Typed
from interop.field_types import raw_client, typed_headers
from interop.transcript import Json
from interop.watching import confirmed, death_counts, deaths, get_soon

EXCHANGE, QUEUE, SHORT = "interop.death_x", "interop.death", "interop.death_short"
SECOND, DEAD = "interop.death_second", "interop.death_dead"


def to(queue: str) -> dict[str, Any]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


QUEUES = {
    DEAD: {},
    QUEUE: to(SECOND),
    SECOND: {"x-message-ttl": 100} | to(DEAD),
    SHORT: {"x-max-length": 1} | to(DEAD),
}


def types(broker: Broker) -> Json:
    """Two deaths of one message, rejected and expired; other headers keep their type and place."""
    with raw_client(broker.url) as client:
        channel = client.channel()
        headers = {"before": Typed("B", 200), "n": Typed("b", 1), "CC": ["interop.cc"], "BCC": ["interop.bcc"]}
        channel.publish(EXCHANGE, "key", b"1", {"headers": headers, "expiration": "60000", "priority": 3})
        channel.call("basic.qos")
        message = channel.get(QUEUE, no_ack=False)
        assert message is not None
        channel.send("basic.reject", delivery_tag=message.tag, requeue=False)
        deadline = time.monotonic() + WAIT_SECONDS
        while (dead := channel.get(DEAD)) is None:
            assert time.monotonic() < deadline, "the dead letter never came"
        typed: dict[str, Any] = typed_headers(dead)
        rows = typed["x-death"][1]
        order = list(rows[1][1])
        times = [row[1].pop("time") for row in rows]
        return {
            "order": order,
            "headers": typed,
            "times": [[letter, abs(seconds - time.time()) < 60] for letter, seconds in times],
            "properties": sorted(set(dead.properties) - {"headers"}),
            "from": [dead.method["exchange"], dead.method["routing_key"], dead.method["redelivered"]],
        }


def reject_and_nack(channel: Any) -> Json:
    """rejected by reject and nack, one by one and multiple; the consumer's redelivered flag does not go along."""
    told: list[Json] = []
    for number in range(4):
        channel.basic_publish("", QUEUE, str(number).encode())
    tags = [channel.basic_get(QUEUE)[0].delivery_tag for _ in range(4)]
    channel.basic_reject(tags[0], requeue=False)
    channel.basic_nack(tags[1], requeue=False)
    channel.basic_nack(tags[3], multiple=True, requeue=False)
    for _ in range(4):
        method, properties, body = get_soon(channel, DEAD)
        told.append([body, method.redelivered, *death_counts(properties)])
    return told


def firsts(properties: pika.BasicProperties) -> Json:
    return {key: value for key, value in (properties.headers or {}).items() if key.startswith("x-first-")}


def lasts(properties: pika.BasicProperties) -> Json:
    """RabbitMQ has these since 3.13."""
    return {key: value for key, value in (properties.headers or {}).items() if key.startswith("x-last-")}


def expiration(channel: Any) -> Json:
    """original-expiration is told for whatever reason the message died; the property itself is gone."""
    confirmed(channel, SHORT, "1", expiration="60000", message_id="m", delivery_mode=2, app_id="a")
    confirmed(channel, SHORT, "2")
    method, properties, body = get_soon(channel, DEAD)
    kept = [properties.expiration, properties.message_id, properties.delivery_mode, properties.app_id]
    return {
        "dead": [body, method.exchange, method.routing_key],
        "x-death": deaths(properties),
        "first": firsts(properties),
        "last": lasts(properties),
        "properties": kept,
    }


def first_and_last(channel: Any) -> Json:
    """After two deaths the first is still the first, and the last is the newest."""
    channel.basic_publish("", QUEUE, b"1")
    channel.basic_reject(channel.basic_get(QUEUE)[0].delivery_tag, requeue=False)
    properties = get_soon(channel, DEAD)[1]
    return {"first": firsts(properties), "last": lasts(properties)}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES], exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(EXCHANGE, "direct")
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        channel.queue_bind(QUEUE, EXCHANGE, "key")
        return {
            "types": types(broker),
            "rejected": reject_and_nack(channel),
            "expiration": expiration(channel),
            "first and last": first_and_last(channel),
        }


EXPECTED: Json = {
    "types": {
        "order": ["count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"],
        "headers": {
            "before": ["B", 200],
            "n": ["b", 1],
            "CC": ["A", [["S", "interop.cc"]]],
            "x-death": [
                "A",
                [
                    [
                        "F",
                        {
                            "count": ["l", 1],
                            "exchange": ["S", ""],
                            "queue": ["S", "interop.death_second"],
                            "reason": ["S", "expired"],
                            "routing-keys": ["A", [["S", "interop.death_second"]]],
                        },
                    ],
                    [
                        "F",
                        {
                            "count": ["l", 1],
                            "reason": ["S", "rejected"],
                            "queue": ["S", "interop.death"],
                            "exchange": ["S", "interop.death_x"],
                            "routing-keys": ["A", [["S", "key"], ["S", "interop.cc"]]],
                            "original-expiration": ["S", "60000"],
                        },
                    ],
                ],
            ],
            "x-first-death-exchange": ["S", "interop.death_x"],
            "x-first-death-queue": ["S", "interop.death"],
            "x-first-death-reason": ["S", "rejected"],
            "x-last-death-exchange": ["S", ""],
            "x-last-death-queue": ["S", "interop.death_second"],
            "x-last-death-reason": ["S", "expired"],
        },
        "times": [["T", True], ["T", True]],
        "properties": ["priority"],
        "from": ["", "interop.death_dead", False],
    },
    "rejected": [
        ["0", False, "interop.death_second expired 1", "interop.death rejected 1"],
        ["1", False, "interop.death_second expired 1", "interop.death rejected 1"],
        ["2", False, "interop.death_second expired 1", "interop.death rejected 1"],
        ["3", False, "interop.death_second expired 1", "interop.death rejected 1"],
    ],
    "expiration": {
        "dead": ["1", "", "interop.death_dead"],
        "x-death": [
            {
                "count": 1,
                "reason": "maxlen",
                "queue": "interop.death_short",
                "time": "now",
                "exchange": "",
                "routing-keys": ["interop.death_short"],
                "original-expiration": "60000",
            }
        ],
        "first": {
            "x-first-death-exchange": "",
            "x-first-death-queue": "interop.death_short",
            "x-first-death-reason": "maxlen",
        },
        "last": {
            "x-last-death-exchange": "",
            "x-last-death-queue": "interop.death_short",
            "x-last-death-reason": "maxlen",
        },
        "properties": [None, "m", 2, "a"],
    },
    "first and last": {
        "first": {
            "x-first-death-exchange": "",
            "x-first-death-queue": "interop.death",
            "x-first-death-reason": "rejected",
        },
        "last": {
            "x-last-death-exchange": "",
            "x-last-death-queue": "interop.death_second",
            "x-last-death-reason": "expired",
        },
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
