"""A stream with kombu: the offset is an argument of the queue's consumer, the prefetch one of kombu's Consumer."""

from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.streaming import OFFSET, STREAM
from interop.transcript import Json

NAME = "interop.kombu.stream"
EVENTS = Exchange("interop.kombu.stream", type="topic", durable=True)
COUNT = 20


def stream(offset: str | int) -> Queue:
    """The stream, for a reader that begins at this offset."""
    return Queue(NAME, EVENTS, routing_key="#", queue_arguments=STREAM, consumer_arguments={OFFSET: offset})


class Projection(ConsumerMixin):
    """Reads ``count`` events with a prefetch of 3; remembers where to go on."""

    def __init__(self, connection: Connection, offset: str | int, count: int) -> None:
        self.connection = connection
        self.next: str | int = offset
        self.count = count
        self.seen: list[Any] = []

    def get_consumers(self, consumer: type[Consumer], channel: Any) -> list[Consumer]:
        return [consumer([stream(self.next)], callbacks=[self.on_event], prefetch_count=3)]

    def on_event(self, body: Any, message: Any) -> None:
        if not self.count:
            return  # it came before the consumer was cancelled
        self.seen.append(body["number"])
        self.next = message.headers[OFFSET] + 1
        message.ack()
        self.count -= 1
        self.should_stop = not self.count


def projected(connection: Connection, offset: str | int, count: int) -> Projection:
    projection = Projection(connection.clone(), offset, count)
    projection.run()
    projection.connection.release()
    return projection


def run(broker: Broker) -> Json:
    with (
        scratch(broker.url, queues=[NAME], exchanges=[EVENTS.name]),
        Connection(broker.url, transport_options={"confirm_publish": True}) as connection,
    ):
        producer = Producer(connection)
        for number in range(COUNT):
            event = {"number": number}
            producer.publish(event, exchange=EVENTS, routing_key="event.new", declare=[stream("first")], retry=True)
        whole = projected(connection, "first", COUNT)
        part = projected(connection, "first", 7)
        rest = projected(connection, part.next, COUNT - 7)
        return {"whole": whole.seen, "part": part.seen, "where it goes on": part.next, "rest": rest.seen}


EXPECTED: Json = {
    "whole": [*range(COUNT)],
    "part": [*range(7)],
    "where it goes on": 7,
    "rest": [*range(7, COUNT)],
}

if __name__ == "__main__":
    main(run, EXPECTED)
