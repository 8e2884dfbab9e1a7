"""NServiceBus delays without any plugin: 28 levels of exchanges and queues, one for each bit of the delay in seconds.

The topology that its transport declares for RabbitMQ, up to version 6 with lazy queues, since 7 with quorum queues that
dead-letter at least once. A message enters at the level of its highest bit, waits there, and is dead-lettered to the
next level, where its routing key says whether it waits or passes.
"""

import time
from functools import partial
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, death_counts

LEVELS = 28
ENDPOINT = "interop.Sales"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "nsb": {"x-queue-mode": "lazy"},
    "nsb.v2": {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
}
DELAYS = {"three": 3, "one": 1, "two": 2}  # seconds


def level_name(version: str, level: int) -> str:
    return f"{version}.delay-level-{level:02}"


def delivery(version: str) -> str:
    return f"{version}.delay-delivery"


def declare(channel: BlockingChannel, version: str) -> None:
    for level in reversed(range(LEVELS)):
        name = level_name(version, level)
        lower = level_name(version, level - 1) if level else delivery(version)
        channel.exchange_declare(lower, "topic", durable=True)
        channel.exchange_declare(name, "topic", durable=True)
        arguments = {"x-message-ttl": (1 << level) * 1000, "x-dead-letter-exchange": lower} | ARGUMENTS[version]
        channel.queue_declare(name, durable=True, arguments=arguments)
        above = "*." * (LEVELS - 1 - level)
        channel.queue_bind(name, name, f"{above}1.#")
        channel.exchange_bind(lower, name, f"{above}0.#")
    channel.exchange_declare(ENDPOINT, "fanout", durable=True)
    channel.queue_declare(ENDPOINT, durable=True)
    channel.queue_bind(ENDPOINT, ENDPOINT)
    channel.exchange_bind(ENDPOINT, delivery(version), f"#.{ENDPOINT}")


def send(channel: BlockingChannel, version: str, body: str, seconds: int) -> None:
    bits = f"{seconds:0{LEVELS}b}"
    name = level_name(version, seconds.bit_length() - 1)
    header = {"NServiceBus.Transport.RabbitMQ.DelayInSeconds": seconds}
    properties = pika.BasicProperties(delivery_mode=2, headers=header, message_id=body)
    channel.basic_publish(name, ".".join([*bits, ENDPOINT]), body.encode(), properties, mandatory=True)


def seen(url: str, version: str) -> Json:
    names = [level_name(version, level) for level in range(LEVELS)]
    exchanges = [*names, delivery(version), ENDPOINT]
    with scratch(url, queues=[*names, ENDPOINT], exchanges=exchanges), connect(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        declare(channel, version)
        inbox = Inbox(connection, ENDPOINT, auto_ack=True)
        waited = {}
        began = time.monotonic()
        with within(min(DELAYS.values())):  # they are as much apart when they are sent at the same time
            for body, seconds in DELAYS.items():
                send(channel, version, body, seconds)
        for count in range(1, len(DELAYS) + 1):
            inbox.wait_for(count)
            waited[inbox.bodies[count - 1]] = time.monotonic() - began
        return {
            "order": inbox.bodies,
            "early": [body for body, seconds in DELAYS.items() if waited[body] < seconds],
            "deaths": {
                body: death_counts(properties) for body, properties in zip(inbox.bodies, inbox.properties, strict=True)
            },
        }


def run(broker: Broker) -> Json:
    return {version: punctual(partial(seen, broker.url, version)) for version in ARGUMENTS}


def expected(version: str) -> Json:
    first, second = (f"{level_name(version, level)} expired 1" for level in (0, 1))
    return {
        "order": ["one", "two", "three"],
        "early": [],
        "deaths": {"one": [first], "two": [second], "three": [first, second]},
    }


EXPECTED: Json = {version: expected(version) for version in ARGUMENTS}

if __name__ == "__main__":
    main(run, EXPECTED)
