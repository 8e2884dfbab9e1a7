"""Two hundred channels on one connection, used in turn, half of them closed and opened again."""

from typing import Any

from interop.blocking import connect, refusal, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

COUNT = 200
ROUNDS = 3


class Endpoint:
    """A channel with a queue of its own and a consumer on it."""

    def __init__(self, connection: Any, number: int | None = None) -> None:
        self.channel = connection.channel(number)
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.received: list[str] = []
        self.tags: list[int] = []
        self.channel.basic_consume(self.queue, self._on_message)

    def _on_message(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self.received.append(body.decode())
        self.tags.append(method.delivery_tag)
        channel.basic_ack(method.delivery_tag)

    def send(self, other: "Endpoint", body: str) -> None:
        self.channel.basic_publish("", other.queue, body.encode())


def run(broker: Broker) -> Json:
    with connect(broker.url) as connection:
        ends = [Endpoint(connection) for _ in range(COUNT)]
        for round_number in range(ROUNDS):
            for index, end in enumerate(ends):
                end.send(ends[(index + 1) % COUNT], f"{round_number} from {index}")
        wait_until(connection, lambda: sum(len(end.received) for end in ends) == COUNT * ROUNDS)
        right = [
            end.received == [f"{n} from {(index - 1) % COUNT}" for n in range(ROUNDS)]
            and end.tags == list(range(1, ROUNDS + 1))
            for index, end in enumerate(ends)
        ]
        numbers = [end.channel.channel_number for end in ends]
        # One channel that fails takes no other with it.
        failed = refusal(lambda: ends[7].channel.queue_declare("interop.no_such", passive=True))
        for end in ends[1::2]:
            if end.channel.is_open:
                end.channel.close()
        again = [Endpoint(connection, number) for number in numbers[1::2]]
        for index, end in enumerate(again):
            ends[2 * index].send(end, f"again {index}")
        wait_until(connection, lambda: all(end.received for end in again))
        return {
            "right": right.count(True),
            "numbers differ": len(set(numbers)),
            "failed": failed,
            "again": [end.received == [f"again {index}"] and end.tags == [1] for index, end in enumerate(again)],
        }


EXPECTED: Json = {
    "right": COUNT,
    "numbers differ": COUNT,
    "failed": ["channel", 404, "NOT_FOUND - no queue 'interop.no_such' in vhost '/'"],
    "again": [True] * (COUNT // 2),
}

if __name__ == "__main__":
    main(run, EXPECTED)
