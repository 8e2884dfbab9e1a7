"""x-single-active-consumer: one consumer gets everything; who is next, and what becomes of messages in flight."""

import time
from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.field_types import raw_client
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, counts, lose, precondition, serve, watch

QUEUE = "interop.sac"
BUSY_SECONDS = 3.0  # that a busy machine may need for a delivery


class Group:
    """Three consumers, a connection each, in the order they came; ``publisher`` is nobody's of them."""

    def __init__(self, url: str, *, prefetch: int = 3, **consume: Any) -> None:
        self.connections = [connect(url) for _ in range(3)]
        self.inboxes = [Inbox(connection, QUEUE, prefetch=prefetch, **consume) for connection in self.connections]
        self.publisher = connect(url).channel()

    def publish(self, *bodies: str) -> None:
        for body in bodies:
            self.publisher.basic_publish("", QUEUE, body.encode())

    def seen(self, *counts: int) -> Json:
        """What each has got: so many at least, if they come, and what could have come in a while after."""
        deadline = time.monotonic() + BUSY_SECONDS

        def came() -> bool:
            return all(len(inbox.bodies) >= count for inbox, count in zip(self.inboxes, counts, strict=False))

        serve(self.connections, lambda: not counts or came() or time.monotonic() >= deadline)
        watch([connection for connection in self.connections if connection.is_open])
        return [[*inbox.bodies] for inbox in self.inboxes]

    def wait_for(self, number: int, count: int) -> None:
        self.inboxes[number].wait_for(count)

    def close(self) -> Json:
        """Close everything; returns what was left in the queue."""
        for connection in self.connections:
            if connection.is_open:
                connection.close()
        left = drain(self.publisher, QUEUE)
        self.publisher.connection.close()
        return left


def only_one(url: str) -> Json:
    """The others get nothing, not even when the active one has no room; but a get does."""
    group = Group(url)
    group.publish(*"12345")
    group.wait_for(0, 3)
    told: dict[str, Json] = {"seen": group.seen(), "counts": counts(group.publisher, QUEUE)}
    method, _properties, body = group.publisher.basic_get(QUEUE)
    told["get"] = body.decode()
    group.publisher.basic_nack(method.delivery_tag, requeue=True)
    group.inboxes[0].reject("2", requeue=True)
    group.wait_for(0, 4)
    told["requeued to"] = group.seen()
    return told | {"left": group.close()}


def cancel(url: str) -> Json:
    """After the active one's cancel the next goes on; what the first holds it may still settle."""
    group = Group(url)
    group.publish(*"123")
    group.wait_for(0, 3)
    first = group.inboxes[0]
    first.channel.basic_cancel(first.tag)
    group.publish("4")
    group.wait_for(1, 1)
    told: dict[str, Json] = {"cancelled": group.seen()}
    first.ack("1")
    first.reject("2", requeue=True)
    told["settled by the first"] = group.seen(3, 2)
    first.channel.close()
    told["its channel closed"] = group.seen(3, 3)
    return told | {"left": group.close()}


def cancel_with_more_to_come(url: str) -> Json:
    """What is ready goes to the next one at once."""
    group = Group(url)
    group.publish(*"1234")
    group.wait_for(0, 3)
    first = group.inboxes[0]
    first.channel.basic_cancel(first.tag)
    told = group.seen(3, 1)
    group.close()
    return told


def cancel_and_come_back(url: str) -> Json:
    """Who comes back stands behind the others."""
    group = Group(url)
    first = group.inboxes[0]
    first.channel.basic_cancel(first.tag)
    group.inboxes.append(Inbox(group.connections[0], QUEUE, prefetch=3))
    group.publish("1")
    group.wait_for(1, 1)
    group.inboxes[1].channel.basic_cancel(group.inboxes[1].tag)
    group.publish("2")
    group.wait_for(2, 1)
    group.inboxes[2].channel.basic_cancel(group.inboxes[2].tag)
    group.publish("3")
    group.wait_for(3, 1)
    return {"seen": group.seen(), "left": group.close()}


def waiting_one_leaves(url: str) -> Json:
    group = Group(url)
    group.inboxes[1].channel.basic_cancel(group.inboxes[1].tag)
    group.publish("1")
    group.wait_for(0, 1)
    group.inboxes[0].channel.close()
    group.wait_for(2, 1)
    return {"seen": group.seen(), "left": group.close()}


def channel_closed(url: str) -> Json:
    """What the active one holds goes to the next, in order and before the rest. (pika would cancel first.)"""
    with raw_client(url) as client:
        channel = client.channel()
        channel.call("basic.qos", prefetch_count=3)
        channel.call("basic.consume", queue=QUEUE)
        group = Group(url)
        group.publish(*"1234")
        held = [body.decode() for body in channel.bodies(3)]
        channel.close()
        group.wait_for(0, 3)
        return {"held": held, "seen": group.seen(), "left": group.close()}


def connection_lost(url: str) -> Json:
    """The same when the client is killed."""
    group = Group(url)
    group.publish(*"1234")
    group.wait_for(0, 3)
    lose(group.connections[0])
    group.wait_for(1, 3)
    lose(group.connections[1])
    group.wait_for(2, 3)
    return {"seen": group.seen(), "left": group.close()}


def same_channel(url: str) -> Json:
    """Two consumers of one channel: the second is next, and what the first holds stays with the channel."""
    with connect(url) as connection:
        channel = connection.channel()
        seen: list[Json] = []
        for tag in ("first", "second"):
            channel.basic_consume(
                QUEUE,
                lambda _channel, method, _properties, body: seen.append([method.consumer_tag, body.decode()]),
                consumer_tag=tag,
            )
        channel.basic_publish("", QUEUE, b"1")
        serve([connection], lambda: len(seen) == 1)
        channel.basic_cancel("first")
        channel.basic_publish("", QUEUE, b"2")
        serve([connection], lambda: len(seen) == 2)
        watch([connection])
        channel.basic_cancel("second")
        channel.close()
        return {"seen": seen, "left": drain(connection.channel(), QUEUE)}


def with_priorities(url: str) -> Json:
    """A consumer with a higher priority does not push the active one out, but is next."""
    with connect(url) as connection:
        inboxes = [Inbox(connection, QUEUE, arguments={"x-priority": priority}) for priority in (0, 1, 5, 3)]
        channel = connection.channel()
        for body, active in (("1", 0), ("2", 2), ("3", 3)):
            channel.basic_publish("", QUEUE, body.encode())
            inboxes[active].wait_for(1)
            inboxes[active].ack(body)
            inboxes[active].channel.basic_cancel(inboxes[active].tag)
        watch([connection])
        seen = [[*inbox.bodies] for inbox in inboxes]
    with connect(url) as connection:
        return {"seen": seen, "left": drain(connection.channel(), QUEUE)}


def refused(connection: pika.BlockingConnection) -> Json:
    def exclusive() -> None:
        connection.channel().basic_consume(QUEUE, print, exclusive=True)

    def redeclare() -> None:
        connection.channel().queue_declare(QUEUE)

    def declare_with(value: Any) -> Json:
        arguments = {"x-single-active-consumer": value}
        return refusal(lambda: connection.channel().queue_declare("interop.sac_bad", arguments=arguments))

    return {
        "exclusive": refusal(exclusive),
        "redeclare": refusal(redeclare),
        "text": declare_with("true"),
        "number": declare_with(1),
    }


def run(broker: Broker) -> Json:
    url = broker.url
    with scratch(url, queues=[QUEUE]), connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, arguments={"x-single-active-consumer": True})
        seen: dict[str, Json] = {
            story.__name__: story(url)
            for story in (
                only_one,
                cancel,
                cancel_with_more_to_come,
                cancel_and_come_back,
                waiting_one_leaves,
                channel_closed,
                connection_lost,
                same_channel,
                with_priorities,
            )
        }
        return seen | {"refused": refused(connection), "at the end": ready_count(channel, QUEUE)}


EXPECTED: Json = {
    "only_one": {
        "seen": [["1", "2", "3"], [], []],
        "counts": [2, 3],
        "get": "4",
        "requeued to": [["1", "2", "3", "2 again"], [], []],
        "left": ["1", "2", "3", "4", "5"],
    },
    "cancel": {
        "cancelled": [["1", "2", "3"], ["4"], []],
        "settled by the first": [["1", "2", "3"], ["4", "2 again"], []],
        "its channel closed": [["1", "2", "3"], ["4", "2 again", "3 again"], []],
        "left": ["2", "3", "4"],
    },
    "cancel_with_more_to_come": [["1", "2", "3"], ["4"], []],
    "cancel_and_come_back": {"seen": [[], ["1"], ["2"], ["3"]], "left": ["1", "2", "3"]},
    "waiting_one_leaves": {"seen": [["1"], [], ["1 again"]], "left": ["1"]},
    "channel_closed": {
        "held": ["1", "2", "3"],
        "seen": [["1 again", "2 again", "3 again"], [], []],
        "left": ["1", "2", "3", "4"],
    },
    "connection_lost": {
        "seen": [["1", "2", "3"], ["1 again", "2 again", "3 again"], ["1 again", "2 again", "3 again"]],
        "left": ["1", "2", "3", "4"],
    },
    "same_channel": {"seen": [["first", "1"], ["second", "2"]], "left": ["1", "2"]},
    "with_priorities": {"seen": [["1"], [], ["2"], ["3"]], "left": []},
    "refused": {
        "exclusive": ["channel", 403, "ACCESS_REFUSED - queue 'interop.sac' in vhost '/' in exclusive use"],
        "redeclare": precondition(
            "inequivalent arg 'x-single-active-consumer' for queue 'interop.sac' in vhost '/': "
            "received none but current is the value 'true' of type 'bool'"
        ),
        "text": bad_argument("x-single-active-consumer", "interop.sac_bad", "{unacceptable_type,longstr}"),
        "number": bad_argument("x-single-active-consumer", "interop.sac_bad", "{unacceptable_type,signedint}"),
    },
    "at the end": 0,
}

if __name__ == "__main__":
    main(run, EXPECTED)
