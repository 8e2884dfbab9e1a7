"""x-expires: a queue that nobody uses goes away; what counts as use, and what not."""

import time
from collections.abc import Callable
from typing import Any

import pika

from interop.blocking import connect, queue_exists, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, lose, watch

EXPIRES = 1200  # ms
LOOKS = 4
IDLE, GOT, PUBLISHED = "interop.expires", "interop.expires_got", "interop.expires_published"
DECLARED, PASSIVE = "interop.expires_declared", "interop.expires_passive"
CONSUMED, LEFT, LOST = "interop.expires_consumed", "interop.expires_left", "interop.expires_lost"
UNACKED, WITH_DEAD, DEAD = "interop.expires_unacked", "interop.expires_with_dead", "interop.expires_dead"
QUEUES = [IDLE, GOT, PUBLISHED, DECLARED, PASSIVE, CONSUMED, LEFT, LOST, UNACKED, WITH_DEAD]
ARGUMENTS = {"x-expires": EXPIRES}


def renew(channel: Any) -> None:
    """What somebody does to each queue again and again, for one and a half times its life."""
    until = time.monotonic() + EXPIRES / 1000 * 1.5
    while time.monotonic() < until:
        with within(EXPIRES / 1000):
            channel.basic_get(GOT)
            channel.queue_declare(DECLARED, arguments=ARGUMENTS)
            channel.queue_declare(PASSIVE, passive=True)
            channel.basic_publish("", PUBLISHED, b"x")
            channel.connection.sleep(0.1)


def alive(connection: pika.BlockingConnection) -> list[Json]:
    return [name for name in QUEUES if queue_exists(connection, name)]


def alive_after(pause: Callable[[], None], connection: pika.BlockingConnection, at_most: int) -> list[Json]:
    """The queues that are there after a pause longer than their life.

    A busy machine deletes them late. What it finds it has used: so it looks again after as long, some times if need be.
    """
    for _ in range(LOOKS):
        pause()
        found = alive(connection)
        if len(found) <= at_most:
            break
    return found


def refused(connection: pika.BlockingConnection) -> Json:
    def declare_with(expires: Any) -> Json:
        arguments = {"x-expires": expires}
        return refusal(lambda: connection.channel().queue_declare("interop.expires_bad", arguments=arguments))

    return [declare_with(0), declare_with(-1), declare_with("soon")]


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    url = broker.url
    with scratch(url, queues=[*QUEUES, DEAD]), connect(url) as connection, connect(url) as lost, connect(url) as user:
        channel = connection.channel()
        channel.queue_declare(DEAD)
        for name in QUEUES:
            dlx = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD} if name == WITH_DEAD else {}
            channel.queue_declare(name, arguments=ARGUMENTS | dlx)
        for name in (UNACKED, WITH_DEAD):
            channel.basic_publish("", name, b"x")
        user.channel().basic_get(UNACKED)
        inboxes = [Inbox(user, name) for name in (CONSUMED, LEFT)]
        Inbox(lost, LOST)
        # A passive declare renews, so each of the two looks is the last use of the queues that it finds.
        first = alive_after(lambda: renew(channel), connection, 6)
        inboxes[1].channel.basic_cancel(inboxes[1].tag)
        lose(lost)
        return {
            "used": first,
            "no longer used": alive_after(lambda: watch([user, connection], EXPIRES / 1000 + 0.8), connection, 1),
            "dead letters": channel.queue_declare(DEAD, passive=True).method.message_count,
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "used": [
        "interop.expires_got",
        "interop.expires_declared",
        "interop.expires_passive",
        "interop.expires_consumed",
        "interop.expires_left",
        "interop.expires_lost",
    ],
    "no longer used": ["interop.expires_consumed"],
    "dead letters": 0,
    "refused": [
        bad_argument("x-expires", "interop.expires_bad", "{value_zero,0}"),
        bad_argument("x-expires", "interop.expires_bad", "{value_negative,-1}"),
        bad_argument("x-expires", "interop.expires_bad", '"expected integer, got longstr"'),
    ],
}

if __name__ == "__main__":
    main(run, EXPECTED)
