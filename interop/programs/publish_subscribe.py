"""Tutorial 3: a fanout exchange and a temporary queue for every subscriber."""

import pika

from interop.blocking import connect, drain, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EXCHANGE = "interop.logs"


def subscribe(connection: pika.BlockingConnection) -> tuple[pika.channel.Channel, str]:
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, exchange_type="fanout")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, EXCHANGE)
    return channel, queue


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EXCHANGE]), connect(broker.url) as sender:
        channel = sender.channel()
        channel.exchange_declare(EXCHANGE, exchange_type="fanout")
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, "", b"nobody listens")
        with connect(broker.url) as one, connect(broker.url) as two:
            first, first_queue = subscribe(one)
            channel.basic_publish(EXCHANGE, "", b"for one")
            second, second_queue = subscribe(two)
            channel.basic_publish(EXCHANGE, "any.key", b"for both")
            return {
                "names": [queue.startswith("amq.gen-") for queue in (first_queue, second_queue)],
                "name_lengths": [len(first_queue), len(second_queue)],
                "names_differ": first_queue != second_queue,
                "first": list(drain(first, first_queue)),
                "second": list(drain(second, second_queue)),
            }


EXPECTED: Json = {
    "names": [True, True],
    "name_lengths": [30, 30],
    "names_differ": True,
    "first": ["for one", "for both"],
    "second": ["for both"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
