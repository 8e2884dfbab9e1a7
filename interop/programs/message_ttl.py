"""Message TTL: of the queue, of the message, both; 0; what a consumer, a get and a requeue make of it."""

from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, get_soon, precondition, wait_a_little, wait_ready, watch

SHORT = 1000  # ms
AFTER = 1.5  # seconds after which a SHORT message must be gone
BUSY = 5.0  # seconds more that a busy machine may take to see it
PLAIN, BRIEF, LONG, NOW = "interop.ttl", "interop.ttl_brief", "interop.ttl_long", "interop.ttl_now"
HELD, TAKEN, DEAD = "interop.ttl_held", "interop.ttl_taken", "interop.ttl_dead"
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES = {
    DEAD: {},
    PLAIN: {},
    BRIEF: {"x-message-ttl": SHORT} | DLX,
    HELD: {"x-message-ttl": SHORT} | DLX,
    TAKEN: {"x-message-ttl": SHORT},
    LONG: {"x-message-ttl": 60000},
    NOW: {"x-message-ttl": 0} | DLX,
}


def expiring(ms: int) -> pika.BasicProperties:
    return pika.BasicProperties(expiration=str(ms))


def in_time_and_too_late(channel: Any) -> Json:
    """What is still there at once, and what when SHORT is over."""
    with within(SHORT / 1000):
        channel.basic_publish("", BRIEF, b"queue's", expiring(60000))
        channel.basic_publish("", BRIEF, b"queue's only")
        channel.basic_publish("", LONG, b"message's", expiring(SHORT))
        channel.basic_publish("", LONG, b"stays")
        for body in (b"acked late", b"expires"):
            channel.basic_publish("", PLAIN, body, expiring(SHORT))
        for body in (b"1", b"2"):
            channel.basic_publish("", TAKEN, body)
        channel.basic_publish("", HELD, b"held")
        by_get = channel.basic_get(TAKEN, auto_ack=True)
        late_ack = channel.basic_get(PLAIN)
        channel.basic_nack(channel.basic_get(HELD)[0].delivery_tag, requeue=True)
        requeued = channel.basic_get(HELD)
    channel.connection.sleep(AFTER)
    channel.basic_nack(requeued[0].delivery_tag, requeue=True)
    wait_ready(channel, DEAD, 3)
    for queue, count in ((PLAIN, 0), (TAKEN, 0), (LONG, 1)):
        wait_a_little(channel, queue, count, BUSY)
    channel.basic_ack(late_ack[0].delivery_tag)
    return {
        "got": [by_get[2].decode(), by_get[0].message_count],
        "unacked keeps its expiration": [late_ack[2].decode(), late_ack[1].expiration],
        "requeued in time": [requeued[2].decode(), requeued[0].redelivered],
        "ready afterwards": {queue: ready_count(channel, queue) for queue in (PLAIN, BRIEF, HELD, TAKEN, LONG)},
        "get afterwards": [channel.basic_get(queue)[0] is None for queue in (PLAIN, BRIEF, HELD, TAKEN)],
        "dead": drain(channel, DEAD),
        "left": drain(channel, LONG),
    }


def expires_behind_a_busy_consumer(url: str, channel: Any) -> Json:
    """The consumer holds one message and has no room for the next, which expires meanwhile."""
    with connect(url) as connection:
        inbox = Inbox(connection, PLAIN, prefetch=1)
        channel.basic_publish("", PLAIN, b"1", expiring(SHORT))
        channel.basic_publish("", PLAIN, b"2", expiring(100))
        inbox.wait_for(1)
        watch([connection], 0.5)
        inbox.ack("1")
        channel.basic_publish("", PLAIN, b"3", expiring(SHORT))
        inbox.wait_for(2)
        inbox.ack("3")
        return list(inbox.bodies)


def zero(url: str, channel: Any) -> Json:
    """TTL 0 is for a consumer that waits; without one the message dies at once."""
    channel.basic_publish("", NOW, b"nobody waits")
    no_consumer: list[Json] = [get_soon(channel, DEAD)[2], ready_count(channel, NOW)]
    channel.basic_publish("", PLAIN, b"nobody waits", expiring(0))
    by_message: list[Json] = [channel.basic_get(PLAIN)[0] is None, ready_count(channel, PLAIN)]
    with connect(url) as connection:
        inbox = Inbox(connection, NOW, prefetch=1)
        channel.basic_publish("", NOW, b"1")
        inbox.wait_for(1)
        channel.basic_publish("", NOW, b"no room")
        dead = get_soon(channel, DEAD)[2]
        inbox.reject("1", requeue=True)  # Its deadline has passed, though there is room for it again.
        requeued = get_soon(channel, DEAD)[2]
        watch([connection])
        delivered = list(inbox.bodies)
    told: dict[str, Json] = {"no consumer": no_consumer, "by message": by_message, "consumer": delivered}
    return told | {"no room": dead, "requeued": requeued}


def refused(connection: pika.BlockingConnection) -> Json:
    def declare_with(ttl: Any) -> Json:
        return refusal(lambda: connection.channel().queue_declare("interop.ttl_bad", arguments={"x-message-ttl": ttl}))

    def redeclare() -> None:
        connection.channel().queue_declare(PLAIN, arguments={"x-message-ttl": 1})

    return {
        "negative": declare_with(-1),
        "text": declare_with("soon"),
        "too long": declare_with(2**40),
        "redeclare": refusal(redeclare),
    }


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES]), connect(broker.url) as connection:
        channel = connection.channel()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        return {
            "in time and too late": in_time_and_too_late(channel),
            "busy consumer": expires_behind_a_busy_consumer(broker.url, channel),
            "zero": zero(broker.url, channel),
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "in time and too late": {
        "got": ["1", 1],
        "unacked keeps its expiration": ["acked late", "1000"],
        "requeued in time": ["held", True],
        "ready afterwards": {
            "interop.ttl": 0,
            "interop.ttl_brief": 0,
            "interop.ttl_held": 0,
            "interop.ttl_taken": 0,
            "interop.ttl_long": 1,
        },
        "get afterwards": [True, True, True, True],
        "dead": ["queue's", "queue's only", "held"],
        "left": ["stays"],
    },
    "busy consumer": ["1", "3"],
    "zero": {
        "no consumer": ["nobody waits", 0],
        "by message": [True, 0],
        "consumer": ["1"],
        "no room": "no room",
        "requeued": "1",
    },
    "refused": {
        "negative": bad_argument("x-message-ttl", "interop.ttl_bad", "{value_negative,-1}"),
        "text": bad_argument("x-message-ttl", "interop.ttl_bad", '"expected integer, got longstr"'),
        "too long": bad_argument("x-message-ttl", "interop.ttl_bad", "{value_too_large,1099511627776}"),
        "redeclare": precondition(
            "inequivalent arg 'x-message-ttl' for queue 'interop.ttl' in vhost '/': received the "
            "value '1' of type 'signedint' but current is none"
        ),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
