"""What the delayed exchange does beyond RabbitMQ's plugin: returns, alternate exchange, cancelling, recurring."""

import time
from typing import Any

import pika
import pika.exceptions

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.delaying import declare_delayed, delay
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, death_counts, get_soon, serve, watch

EXCHANGE, QUEUE = "interop.delayed_req_x", "interop.delayed_req"
CAUGHT, CATCHER, DEAD = "interop.delayed_req_caught", "interop.delayed_req_catcher", "interop.delayed_req_dead"
DELAY = 200  # ms


class Publisher:
    """A channel with confirms and mandatory publishes that notes what comes back, and when it is confirmed."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.channel.confirm_delivery()
        self.returned: list[Json] = []
        self.channel.add_on_return_callback(self._on_return)

    def _on_return(self, _channel: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self.returned.append(
            [method.reply_code, method.reply_text, body.decode(), (properties.headers or {}).get("x-delay")]
        )

    def publish(self, body: str, properties: pika.BasicProperties, key: str = QUEUE) -> Json:
        """Whether it came back at once."""
        try:
            self.channel.basic_publish(EXCHANGE, key, body.encode(), properties, mandatory=True)
        except pika.exceptions.UnroutableError:
            return "returned"
        return "taken"

    def cancel(self, name: str) -> Json:
        """A mandatory request comes back when there is nothing to cancel."""
        before = len(self.returned)
        self.publish("", pika.BasicProperties(delivery_mode=2, headers={"x-delay-cancel": name}))
        watch([self.connection])
        return "nothing there" if len(self.returned) > before else "cancelled"


def unroutable(connection: pika.BlockingConnection) -> Json:
    """Returned at once when nothing is bound at the publish; returned later when nothing is bound any more."""
    publisher = Publisher(connection)
    channel = publisher.channel
    declare_delayed(channel, EXCHANGE, "direct", durable=True)
    nothing_bound = publisher.publish("never bound", delay(DELAY), key="nobody")
    channel.queue_bind(QUEUE, EXCHANGE, "gone")
    with within(DELAY / 1000):
        bound = publisher.publish("not bound any more", delay(DELAY), key="gone")
        channel.queue_unbind(QUEUE, EXCHANGE, "gone")
    serve([connection], lambda: len(publisher.returned) >= 2)
    return {"at the publish": nothing_bound, "bound": bound, "returned": publisher.returned}


def publisher_has_gone(broker: Broker, connection: pika.BlockingConnection) -> Json:
    """Nobody is there to return it to: it goes to the exchange's dead-letter exchange."""
    channel = connection.channel()
    channel.exchange_delete(EXCHANGE)
    declare_delayed(
        channel, EXCHANGE, "direct", durable=True, x_dead_letter_exchange="", x_dead_letter_routing_key=DEAD
    )
    channel.queue_bind(QUEUE, EXCHANGE, "gone")
    publisher = Publisher(connect(broker.url))
    with within(DELAY / 1000):
        publisher.publish("left behind", delay(DELAY), key="gone")
        publisher.connection.close()
        channel.queue_unbind(QUEUE, EXCHANGE, "gone")
    _method, properties, body = get_soon(channel, DEAD)
    return [body, *death_counts(properties), (properties.headers or {}).get("x-delay")]


def alternate(connection: pika.BlockingConnection) -> Json:
    """A copy goes to the alternate exchange at the due time, not at the publish; the message counts as routable."""
    channel = connection.channel()
    channel.exchange_delete(EXCHANGE)
    channel.exchange_declare(CATCHER, "fanout")
    channel.queue_bind(CAUGHT, CATCHER)
    declare_delayed(channel, EXCHANGE, "direct", alternate_exchange=CATCHER)
    publisher = Publisher(connection)
    with within(DELAY / 1000):
        published = publisher.publish("caught", delay(DELAY), key="nobody")
        at_once = drain(channel, CAUGHT)
    _method, properties, body = get_soon(channel, CAUGHT)
    return {"published": published, "at once": at_once, "later": [body, (properties.headers or {}).get("x-delay")]}


def cancelled(connection: pika.BlockingConnection) -> Json:
    """By message-id, all of that name at once; a message-id that nothing has comes back."""
    publisher = Publisher(connection)
    channel = publisher.channel
    _anew(channel)
    inbox = Inbox(connection, QUEUE, auto_ack=True)
    with within(0.6):
        for name in ("a", "b", "a"):
            publisher.publish(name, pika.BasicProperties(delivery_mode=2, message_id=name, headers={"x-delay": 600}))
        first = publisher.cancel("a")
    seen: dict[str, Json] = {"a": first, "again": publisher.cancel("a"), "c": publisher.cancel("c")}
    inbox.wait_for(1)
    watch([connection])
    return seen | {"came": inbox.bodies}


def recurring(connection: pika.BlockingConnection) -> Json:
    """Three times every DELAY; for ever until it is cancelled; by a cron expression, not before the minute is full."""
    publisher = Publisher(connection)
    _anew(publisher.channel)
    inbox = Inbox(connection, QUEUE, auto_ack=True)
    began = time.monotonic()
    publisher.publish("thrice", pika.BasicProperties(headers={"x-period": DELAY, "x-repeat": 3}))
    inbox.wait_for(3)
    waited = time.monotonic() - began
    watch([connection], 2 * DELAY / 1000)
    thrice = [*inbox.bodies]
    publisher.publish("for ever", pika.BasicProperties(headers={"x-period": DELAY, "kept": "yes"}, message_id="ever"))
    inbox.wait_for(5)
    stopped = publisher.cancel("ever")
    count = len(inbox.bodies)
    watch([connection], 2 * DELAY / 1000)
    headers = {"x-cron": "0 3 * * *", "x-cron-timezone": "Europe/Berlin"}
    publisher.publish("each night", pika.BasicProperties(headers=headers, message_id="night"))
    return {
        "thrice": thrice,
        "too fast": waited < 3 * DELAY / 1000 - 0.1,
        "what makes it recur": [(one.headers or {}) for one in inbox.properties[2:4]],
        "stopped": [stopped, len(inbox.bodies) == count],
        "night": [publisher.cancel("night"), publisher.cancel("night")],
    }


def refused(connection: pika.BlockingConnection) -> Json:
    def publish(**headers: Any) -> Json:
        channel = connection.channel()
        channel.confirm_delivery()
        named = {word.replace("_", "-"): value for word, value in headers.items()}
        return refusal(lambda: channel.basic_publish(EXCHANGE, QUEUE, b"", pika.BasicProperties(headers=named)))

    return {
        "cron": publish(x_cron="61 * * * *"),
        "zone": publish(x_cron="* * * * *", x_cron_timezone="Mars/Phobos"),
        "period": publish(x_period=5),
    }


def transaction(connection: pika.BlockingConnection) -> Json:
    """A delay counts from the commit; what is rolled back never comes."""
    channel = connection.channel()
    _anew(channel)
    inbox = Inbox(connection, QUEUE, auto_ack=True)
    channel.tx_select()
    channel.basic_publish(EXCHANGE, QUEUE, b"rolled back", delay(DELAY))
    channel.tx_rollback()
    channel.basic_publish(EXCHANGE, QUEUE, b"committed", delay(DELAY))
    watch([connection], 2 * DELAY / 1000)
    before = [*inbox.bodies]
    channel.tx_commit()
    inbox.wait_for(1)
    watch([connection])
    return [before, inbox.bodies]


def carried(connection: pika.BlockingConnection) -> Json:
    """CC and BCC count at the due time; a TTL begins in the queue; exchange, key and other properties stay."""
    channel = connection.channel()
    _anew(channel)
    # Consumers that wait: what comes lives for 60 ms.
    inboxes = {queue: Inbox(connection, queue, auto_ack=True) for queue in (CAUGHT, DEAD)}
    for queue in inboxes:
        channel.queue_bind(queue, EXCHANGE, queue)
    headers = {"x-delay": DELAY, "CC": [CAUGHT], "BCC": [DEAD]}
    properties = pika.BasicProperties(headers=headers, expiration="60", priority=7, message_id="m", timestamp=5)
    channel.basic_publish(EXCHANGE, "to nobody", b"carried", properties)
    seen = {}
    for queue, inbox in inboxes.items():
        inbox.wait_for(1)
        method, got = inbox.methods[0], inbox.properties[0]
        seen[queue] = [
            method.exchange,
            method.routing_key,
            *inbox.bodies,
            got.headers,
            got.expiration,
            got.priority,
            got.message_id,
        ]
    return seen


def _anew(channel: Any) -> None:
    """The exchange without what waits in it, and its queue bound."""
    channel.exchange_delete(EXCHANGE)
    declare_delayed(channel, EXCHANGE, "direct", durable=True)
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True)
    channel.queue_bind(QUEUE, EXCHANGE, QUEUE)


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    kept = scratch(broker.url, queues=[QUEUE, CAUGHT, DEAD], exchanges=[EXCHANGE, CATCHER])
    with kept, connect(broker.url) as connection:
        channel = connection.channel()
        for queue in (QUEUE, CAUGHT, DEAD):
            channel.queue_declare(queue, durable=True)
        return {
            "unroutable": unroutable(connection),
            "publisher has gone": publisher_has_gone(broker, connection),
            "alternate": alternate(connection),
            "cancelled": cancelled(connection),
            "recurring": recurring(connection),
            "refused": refused(connection),
            "transaction": transaction(connection),
            "carried": carried(connection),
        }


CARRIED: dict[str, Json] = {"x-delay": -DELAY, "CC": [CAUGHT]}
EXPECTED: Json = {
    "unroutable": {
        "at the publish": "returned",
        "bound": "taken",
        "returned": [
            [312, "NO_ROUTE", "never bound", DELAY],
            [312, "NO_ROUTE", "not bound any more", -DELAY],
        ],
    },
    "publisher has gone": ["left behind", f"{EXCHANGE} delayed_unroutable 1", -DELAY],
    "alternate": {"published": "taken", "at once": [], "later": ["caught", -DELAY]},
    "cancelled": {"a": "cancelled", "again": "nothing there", "c": "nothing there", "came": ["b"]},
    "recurring": {
        "thrice": ["thrice"] * 3,
        "too fast": False,
        "what makes it recur": [{}, {"kept": "yes"}],
        "stopped": ["cancelled", True],
        "night": ["cancelled", "nothing there"],
    },
    "refused": {
        "cron": ["channel", 406, "PRECONDITION_FAILED - invalid header 'x-cron': bad minute in '61 * * * *'"],
        "zone": [
            "channel",
            406,
            "PRECONDITION_FAILED - invalid header 'x-cron-timezone': there is no time zone 'Mars/Phobos'",
        ],
        "period": [
            "channel",
            406,
            "PRECONDITION_FAILED - invalid header 'x-period': it must be a whole number from 100 to 315360000000",
        ],
    },
    "transaction": [[], ["committed"]],
    "carried": {
        CAUGHT: [EXCHANGE, "to nobody", "carried", CARRIED, "60", 7, "m"],
        DEAD: [EXCHANGE, "to nobody", "carried", CARRIED, "60", 7, "m"],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
