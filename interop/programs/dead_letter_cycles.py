"""Circles of dead letters: with a rejection in them they go on and count, without one they end."""

from typing import Any

from interop.blocking import connect, drain, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import A_WHILE, confirmed, death_counts, deaths, get_soon, serve

WORK, RETRY = "interop.cycle_work", "interop.cycle_retry"
SELF, ONE, TWO, FULL = "interop.cycle_self", "interop.cycle_one", "interop.cycle_two", "interop.cycle_full"
REJECTED_SELF = "interop.cycle_rejected"


def to(queue: str, **arguments: Any) -> dict[str, Any]:
    named = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue} | named


QUEUES = {
    WORK: to(RETRY),
    RETRY: to(WORK, message_ttl=50),
    SELF: {"x-dead-letter-exchange": "", "x-message-ttl": 50},
    ONE: to(TWO, message_ttl=50),
    TWO: to(ONE, message_ttl=50),
    FULL: to(FULL, max_length=2),
    REJECTED_SELF: to(REJECTED_SELF),
}


def retry_loop(channel: Any) -> Json:
    """Work rejects, the retry queue's TTL brings it back; the counts of the two rows grow, the newest is first."""
    channel.basic_publish("", WORK, b"task")
    told: list[Json] = []
    got = channel.basic_get(WORK)
    first_time: Any = None
    for _ in range(3):
        channel.basic_reject(got[0].delivery_tag, requeue=False)
        got = [None]
        while got[0] is None:
            got = channel.basic_get(WORK)
            channel.connection.sleep(0.01)
        told.append(death_counts(got[1]))
        times = [row["time"] for row in got[1].headers["x-death"]]
        first_time = first_time or times
        assert times == first_time, "the time is the one of the first death"
    last = deaths(got[1])
    channel.basic_ack(got[0].delivery_tag)
    return {"counts": told, "rows": last}


def rejected_into_itself(channel: Any) -> Json:
    """A queue that is its own dead letter queue: rejections go on for ever."""
    channel.basic_publish("", REJECTED_SELF, b"x")
    told: list[Json] = []
    for _ in range(3):
        method, properties, _body = channel.basic_get(REJECTED_SELF)
        while method is None:
            method, properties, _body = channel.basic_get(REJECTED_SELF)
        told.append([method.redelivered, *death_counts(properties)])
        channel.basic_reject(method.delivery_tag, requeue=False)
    return [*told, death_counts(get_soon(channel, REJECTED_SELF)[1])]


def expired_circles(channel: Any) -> Json:
    """Nobody rejected: the message ends where it would come back to a queue it died in."""
    for queue in (SELF, ONE):
        channel.basic_publish("", queue, b"x")
    circles = (SELF, ONE, TWO)
    serve([channel.connection], lambda: not any(ready_count(channel, queue) for queue in circles))
    channel.connection.sleep(0.6 + A_WHILE)
    return [drain(channel, queue) for queue in circles]


def overflow_into_itself(channel: Any) -> Json:
    """The oldest is dropped to its own queue: a circle, so it is lost, and the others stay."""
    confirmed(channel, FULL, "1", "2", "3")
    channel.connection.sleep(A_WHILE)
    return drain(channel, FULL)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        return {
            "retry loop": retry_loop(channel),
            "rejected into itself": rejected_into_itself(channel),
            "expired": expired_circles(channel),
            "overflow into itself": overflow_into_itself(channel),
        }


EXPECTED: Json = {
    "retry loop": {
        "counts": [
            ["interop.cycle_retry expired 1", "interop.cycle_work rejected 1"],
            ["interop.cycle_retry expired 2", "interop.cycle_work rejected 2"],
            ["interop.cycle_retry expired 3", "interop.cycle_work rejected 3"],
        ],
        "rows": [
            {
                "count": 3,
                "exchange": "",
                "queue": "interop.cycle_retry",
                "reason": "expired",
                "routing-keys": ["interop.cycle_retry"],
                "time": "now",
            },
            {
                "count": 3,
                "exchange": "",
                "queue": "interop.cycle_work",
                "reason": "rejected",
                "routing-keys": ["interop.cycle_work"],
                "time": "now",
            },
        ],
    },
    "rejected into itself": [
        [False],
        [False, "interop.cycle_rejected rejected 1"],
        [False, "interop.cycle_rejected rejected 2"],
        ["interop.cycle_rejected rejected 3"],
    ],
    "expired": [[], [], []],
    "overflow into itself": ["2", "3"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
