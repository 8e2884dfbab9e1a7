"""Tutorial 6: remote calls with a callback queue and correlation ids; the server runs in a thread."""

import threading
import uuid
from typing import Any

import pika

from interop.blocking import WAIT_SECONDS, connect, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.rpc"


def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


class Server(threading.Thread):
    """Answers ``calls`` requests, then ends."""

    def __init__(self, url: str, calls: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._calls = calls

    def run(self) -> None:
        with connect(self._url) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for method, properties, body in channel.consume(QUEUE):
                answer = pika.BasicProperties(correlation_id=properties.correlation_id)
                channel.basic_publish("", properties.reply_to, str(fib(int(body))).encode(), answer)
                channel.basic_ack(method.delivery_tag)
                self._calls -= 1
                if not self._calls:
                    return


class Client:
    def __init__(self, connection: pika.BlockingConnection) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._callback_queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.basic_consume(self._callback_queue, self._on_answer, auto_ack=True)
        self._answers: dict[str, int] = {}

    def _on_answer(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self._answers[properties.correlation_id] = int(body)

    def call(self, n: int) -> int:
        call_id = str(uuid.uuid4())
        question = pika.BasicProperties(reply_to=self._callback_queue, correlation_id=call_id)
        self._channel.basic_publish("", QUEUE, str(n).encode(), question)
        wait_until(self._connection, lambda: call_id in self._answers)
        return self._answers.pop(call_id)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        connection.channel().queue_declare(QUEUE)
        server = Server(broker.url, calls=12)
        server.start()
        client = Client(connection)
        answers: list[Json] = [client.call(n) for n in range(12)]
        server.join(WAIT_SECONDS)
        return {"answers": answers, "server ended": not server.is_alive()}


EXPECTED: Json = {"answers": [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89], "server ended": True}

if __name__ == "__main__":
    main(run, EXPECTED)
