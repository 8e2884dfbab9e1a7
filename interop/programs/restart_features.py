"""What queues know about their messages outlasts a restart: deadlines, deaths, priorities, delivery counts."""

import time
from typing import Any

from interop.blocking import connect, drain, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import confirmed, death_counts, deaths, get_soon, wait_a_little, wait_ready

BRIEF, LONG, DEAD = "interop.kept_ttl", "interop.kept_long", "interop.kept_dead"
LEVELS, COUNTED, LIMITED = "interop.kept_prio", "interop.kept_quorum", "interop.kept_max"
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES: dict[str, dict[str, Any]] = {
    DEAD: {},
    BRIEF: {"x-message-ttl": 1000} | DLX,
    LONG: {},
    LEVELS: {"x-max-priority": 3},
    COUNTED: {"x-queue-type": "quorum"},
    LIMITED: {"x-max-length": 2} | DLX,
}
PERSISTENT: dict[str, Any] = {"delivery_mode": 2}


def fill(url: str) -> None:
    with connect(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, durable=True, arguments=arguments)
        confirmed(channel, LIMITED, "1", "2", "3", **PERSISTENT)
        wait_ready(channel, DEAD, 1)
        for priority in (0, 2, 1, 3, 2):
            confirmed(channel, LEVELS, f"of {priority}", priority=priority, **PERSISTENT)
        confirmed(channel, COUNTED, "twice", **PERSISTENT)
        for _ in range(2):
            wait_ready(channel, COUNTED, 1)
            channel.basic_reject(channel.basic_get(COUNTED)[0].delivery_tag, requeue=True)
        wait_ready(channel, COUNTED, 1)
        confirmed(channel, LONG, "long", expiration="60000", **PERSISTENT)
        confirmed(channel, LONG, "short", expiration="1000", **PERSISTENT)
        confirmed(channel, BRIEF, "brief", **PERSISTENT)


def death(channel: Any) -> Json:
    _method, properties, body = get_soon(channel, DEAD)
    return [body, *death_counts(properties), [row["time"] for row in deaths(properties)]]


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES]):
        fill(broker.url)
        # The deadlines pass while the broker is down, or right after: nothing may start them anew.
        filled = time.monotonic()
        broker.restart()
        with connect(broker.url) as connection:
            channel = connection.channel()
            connection.sleep(max(0.0, filled + 1.7 - time.monotonic()))
            told: dict[str, Json] = {"dead": [death(channel), death(channel)]}
            wait_a_little(channel, LONG, 1, 3.0)
            told["behind a long one"] = drain(channel, LONG)
            told["levels"] = drain(channel, LEVELS)
            method, properties, body = get_soon(channel, COUNTED)
            told["counted"] = [body, method.redelivered, (properties.headers or {})["x-delivery-count"]]
            channel.confirm_delivery()
            confirmed(channel, LIMITED, "4", **PERSISTENT)
            told["limit"] = [death(channel), drain(channel, LIMITED)]
            told["left"] = {queue: ready_count(channel, queue) for queue in QUEUES}
            return told


EXPECTED: Json = {
    "dead": [["1", "interop.kept_max maxlen 1", ["now"]], ["brief", "interop.kept_ttl expired 1", ["now"]]],
    "behind a long one": ["long"],
    "levels": ["of 3", "of 2", "of 2", "of 1", "of 0"],
    "counted": ["twice", True, 2],
    "limit": [["2", "interop.kept_max maxlen 1", ["now"]], ["3", "4"]],
    "left": {
        "interop.kept_dead": 0,
        "interop.kept_ttl": 0,
        "interop.kept_long": 0,
        "interop.kept_prio": 0,
        "interop.kept_quorum": 0,
        "interop.kept_max": 0,
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
