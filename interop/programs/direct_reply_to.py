"""RPC by direct reply-to: no reply queue is declared, the broker hands the answer to the asking channel."""

import threading
import uuid
from typing import Any

import pika
import pika.exceptions

from interop.blocking import WAIT_SECONDS, connect, refusal, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.direct_rpc"
REPLY_TO = "amq.rabbitmq.reply-to"


class Server(threading.Thread):
    """Answers ``calls`` requests with the upper-cased body, then ends."""

    def __init__(self, url: str, calls: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._calls = calls
        self.reply_names: set[str] = set()

    def run(self) -> None:
        with connect(self._url) as connection:
            channel = connection.channel()
            for method, properties, body in channel.consume(QUEUE):
                self.reply_names.add(properties.reply_to)
                answer = pika.BasicProperties(correlation_id=properties.correlation_id)
                channel.basic_publish("", properties.reply_to, body.upper(), answer)
                channel.basic_ack(method.delivery_tag)
                self._calls -= 1
                if not self._calls:
                    return


class Client:
    def __init__(self, connection: pika.BlockingConnection) -> None:
        self._connection = connection
        self.channel = connection.channel()
        self._tag = self.channel.basic_consume(REPLY_TO, self._on_answer, auto_ack=True)
        self._answers: dict[str, list[Json]] = {}
        self.routing_keys: set[str] = set()

    def _on_answer(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        # No delivery tags here: RabbitMQ 3.10 gives every answer the same one, and nobody may ack it.
        own_tag = method.consumer_tag == self._tag
        self.routing_keys.add(method.routing_key)
        self._answers[properties.correlation_id] = [body.decode(), method.exchange, own_tag]

    def call(self, body: str) -> list[Json]:
        call_id = str(uuid.uuid4())
        question = pika.BasicProperties(reply_to=REPLY_TO, correlation_id=call_id)
        self.channel.basic_publish("", QUEUE, body.encode(), question)
        return self.wait_for(call_id)

    def wait_for(self, call_id: str) -> list[Json]:
        wait_until(self._connection, lambda: call_id in self._answers)
        return self._answers.pop(call_id)


def mandatory_answer(client: Client, other: pika.BlockingConnection, name: str) -> Json:
    """A client that still waits counts as a route, so a mandatory answer must not come back to the server."""
    channel = other.channel()
    channel.confirm_delivery()
    returned: list[Json] = []
    try:
        channel.basic_publish("", name, b"x", pika.BasicProperties(correlation_id="mandatory"), mandatory=True)
    except pika.exceptions.UnroutableError as error:
        returned = [message.method.reply_text for message in error.messages]
    client.wait_for("mandatory")
    return returned


def calls(url: str) -> Json:
    server = Server(url, calls=3)
    server.start()
    with connect(url) as connection, connect(url) as other:
        client = Client(connection)
        answers: list[Json] = [client.call(word) for word in ("one", "two", "three")]
        (name,) = server.reply_names
        bare, live = (other.channel().queue_declare(q, passive=True).method for q in (REPLY_TO, name))
        told: dict[str, Json] = {
            "answers": answers,
            "own name": name.startswith(REPLY_TO + "."),
            "answers come with the name": client.routing_keys == {name},
            "declare of the bare name": [bare.queue, bare.message_count, bare.consumer_count],
            "declare of a live name": [live.queue == name, live.message_count, live.consumer_count],
        }
        told["mandatory answer came back"] = mandatory_answer(client, other, name)
        client.channel.close()
        dead = refusal(lambda: other.channel().queue_declare(name, passive=True))
    server.join(WAIT_SECONDS)
    return told | {"declare of a dead name": dead[:2], "server ended": not server.is_alive()}


def refusals(connection: pika.BlockingConnection) -> Json:
    def ask_without_consumer() -> None:
        channel = connection.channel()
        channel.basic_publish("", QUEUE, b"x", pika.BasicProperties(reply_to=REPLY_TO))
        channel.queue_declare(QUEUE, passive=True)

    def consume_with_acks() -> None:
        connection.channel().basic_consume(REPLY_TO, print, auto_ack=False)

    def consume_twice() -> None:
        channel = connection.channel()
        channel.basic_consume(REPLY_TO, print, auto_ack=True)
        channel.basic_consume(REPLY_TO, print, auto_ack=True)

    tries = (ask_without_consumer, consume_with_acks, consume_twice)
    return {attempt.__name__: refusal(attempt) for attempt in tries}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        connection.channel().queue_declare(QUEUE)
        return {"calls": calls(broker.url), "refusals": refusals(connection)}


EXPECTED: Json = {
    "calls": {
        "answers": [["ONE", "", True], ["TWO", "", True], ["THREE", "", True]],
        "own name": True,
        "answers come with the name": True,
        "declare of the bare name": [REPLY_TO, 0, 1],
        "declare of a live name": [True, 0, 1],
        "mandatory answer came back": [],
        "declare of a dead name": ["channel", 404],
        "server ended": True,
    },
    "refusals": {
        "ask_without_consumer": ["channel", 406, "PRECONDITION_FAILED - fast reply consumer does not exist"],
        "consume_with_acks": ["channel", 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"],
        "consume_twice": ["channel", 406, "PRECONDITION_FAILED - reply consumer already set"],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
