"""Delayed exchanges as Spring AMQP, MassTransit and EasyNetQ declare and use them.

Their topologies and header types, reproduced with a client that chooses the type of every number: what a Java or C#
number is on the wire, and what comes back, makes the difference.
"""

from typing import Any

import pika

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.conformance.client import Channel, Message
from interop.conformance.codec import Typed
from interop.delaying import declare_delayed
from interop.field_types import raw_client, typed_headers
from interop.transcript import Json

SPRING, SPRING_QUEUE = "interop.spring.delayed", "interop.spring.orders"
ENDPOINT, DELAYED_ENDPOINT, CONTRACT = "interop-submit-order", "interop-submit-order_delay", "Interop:SubmitOrder"
EASY, EASY_DELAYED, EASY_QUEUE = "Interop.Reminder", "Interop.Reminder_delayed", "Interop.Reminder_mailer"
DELAY = 200  # ms


class Program:
    """A publisher with confirms on one channel, a consumer on another."""

    def __init__(self, publisher: Channel, consumer: Channel, queue: str) -> None:
        self.publisher = publisher
        self.consumer = consumer
        self.tag = 0
        publisher.call("confirm.select")
        consumer.call("basic.consume", queue=queue, no_ack=True)

    def publish(self, exchange: str, key: str, headers: dict[str, Any], **properties: Any) -> None:
        """Mandatory; a basic.return before the confirm fails the program."""
        known = {"delivery_mode": 2, "headers": headers} | properties
        self.publisher.publish(exchange, key, b"{}", known, mandatory=True)
        self.tag += 1
        acked = self.publisher.expect("basic.ack")
        assert acked["delivery_tag"] == self.tag

    def received(self) -> Message:
        return self.consumer.message()


def seen(message: Message) -> Json:
    return [message.method["exchange"], message.method["routing_key"], typed_headers(message)]


def spring(program: Program) -> Json:
    """``DirectExchange.setDelayed(true)``; x-delay is an Integer up to 3.1 and a Long since, 0 sends no delay.

    Its converter up to 3.1 shows a received delay only when it is an Integer. And its manual tells to ignore
    basic.return, which RabbitMQ's plugin sends for every delayed message: here none comes.
    """
    came = []
    for number in (Typed("I", DELAY), Typed("l", DELAY), Typed("I", 0)):
        headers = {"__TypeId__": "shop.Order", "x-delay": number}
        program.publish(SPRING, "orders", headers, priority=0, content_type="application/json")
        came.append(seen(program.received()))
    return came


def typed(value: Json) -> Typed:
    assert isinstance(value, list)
    return Typed(str(value[0]), value[1])


def mass_transit(program: Program) -> Json:
    """ScheduleSend to an endpoint, then redelivery twice: the consumer publishes a copy with the headers it got."""
    came = []
    headers: dict[str, Any] = {"MT-Activity-Id": "00-1"}
    for attempt in range(3):
        if attempt:
            headers["MT-Redelivery-Count"] = Typed("I", attempt)
        headers["x-delay"] = Typed("l", DELAY)
        program.publish(DELAYED_ENDPOINT, "", headers, content_type="application/vnd.masstransit+json")
        message = program.received()
        came.append(seen(message))
        headers = {name: typed(value) for name, value in typed_headers(message).items()}
    return came


def easy_net_q(program: Program) -> Json:
    """DelayedExchangeScheduler: a delayed exchange in front of the one of the message type, bound with "#"."""
    program.publish(EASY_DELAYED, "reminder.today", {"x-delay": Typed("I", DELAY)}, type="Interop.Reminder, Interop")
    return seen(program.received())


def declare(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    for queue in (SPRING_QUEUE, ENDPOINT, EASY_QUEUE):
        channel.queue_declare(queue, durable=True)
    declare_delayed(channel, SPRING, "direct", durable=True)
    channel.queue_bind(SPRING_QUEUE, SPRING, "orders")
    # The contract's exchange, the endpoint's exchange, and its queue; and for delays one that leads to the endpoint.
    for exchange in (CONTRACT, ENDPOINT):
        channel.exchange_declare(exchange, "fanout", durable=True)
    channel.exchange_bind(ENDPOINT, CONTRACT)
    channel.queue_bind(ENDPOINT, ENDPOINT)
    declare_delayed(channel, DELAYED_ENDPOINT, "fanout", durable=True)
    channel.exchange_bind(ENDPOINT, DELAYED_ENDPOINT)
    channel.exchange_declare(EASY, "topic", durable=True)
    channel.queue_bind(EASY_QUEUE, EASY, "#")
    declare_delayed(channel, EASY_DELAYED, "topic", durable=True)
    channel.exchange_bind(EASY, EASY_DELAYED, "#")


def run(broker: Broker) -> Json:
    queues = [SPRING_QUEUE, ENDPOINT, EASY_QUEUE]
    exchanges = [SPRING, CONTRACT, ENDPOINT, DELAYED_ENDPOINT, EASY, EASY_DELAYED]
    with scratch(broker.url, queues=queues, exchanges=exchanges), raw_client(broker.url) as client:
        with connect(broker.url) as connection:
            declare(connection)
        return {
            "Spring": spring(Program(client.channel(), client.channel(), SPRING_QUEUE)),
            "MassTransit": mass_transit(Program(client.channel(), client.channel(), ENDPOINT)),
            "EasyNetQ": easy_net_q(Program(client.channel(), client.channel(), EASY_QUEUE)),
        }


def mass_transit_headers(attempt: int) -> Json:
    known: dict[str, Json] = {"MT-Activity-Id": ["S", "00-1"], "x-delay": ["I", -DELAY]}
    return known | ({"MT-Redelivery-Count": ["I", attempt]} if attempt else {})


EXPECTED: Json = {
    "Spring": [
        [SPRING, "orders", {"__TypeId__": ["S", "shop.Order"], "x-delay": ["I", delay]}]
        for delay in (-DELAY, -DELAY, 0)
    ],
    "MassTransit": [[DELAYED_ENDPOINT, "", mass_transit_headers(attempt)] for attempt in range(3)],
    "EasyNetQ": [EASY_DELAYED, "reminder.today", {"x-delay": ["I", -DELAY]}],
}

if __name__ == "__main__":
    main(run, EXPECTED)
