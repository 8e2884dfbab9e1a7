"""basic.qos in both meanings: global false, for each later consumer; global true, for the channel."""

from typing import Any

from interop.blocking import connect, drain, ready_count, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.qos"
COUNT = 10


class Holder:
    """A channel whose consumers keep every message; ``step`` tells how many they hold."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url)
        self.channel = self.connection.channel()
        self.held: dict[str, int] = {}
        self.last_tag = 0
        for number in range(COUNT):
            self.channel.basic_publish("", QUEUE, str(number).encode())

    def qos(self, count: int, *, channel_wide: bool) -> None:
        self.channel.basic_qos(prefetch_count=count, global_qos=channel_wide)

    def consume(self, name: str, *, auto_ack: bool = False) -> None:
        def on_message(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
            self.held[name] += 1
            self.last_tag = method.delivery_tag

        self.held[name] = 0
        self.channel.basic_consume(QUEUE, on_message, auto_ack=auto_ack)

    def step(self, expected: int) -> Json:
        """Wait until ``expected`` messages came; the count left in the queue shows that no others did."""
        wait_until(self.connection, lambda: sum(self.held.values()) >= expected)
        return [dict(self.held), ready_count(self.channel, QUEUE)]

    def close(self) -> None:
        self.connection.close()


def each_consumer(holder: Holder) -> list[Json]:
    """A change is for later consumers; the running one keeps the limit it was given."""
    holder.qos(2, channel_wide=False)
    holder.consume("two")
    seen = [holder.step(2)]
    holder.qos(5, channel_wide=False)
    holder.consume("five")
    seen.append(holder.step(7))
    holder.channel.basic_ack(holder.last_tag)
    seen.append(holder.step(8))
    return seen


def whole_channel(holder: Holder) -> list[Json]:
    """A channel-wide limit counts all consumers together and takes effect at once."""
    holder.qos(3, channel_wide=True)
    holder.consume("a")
    seen = [holder.step(3)]
    holder.consume("b")
    seen.append(holder.step(3))
    holder.qos(6, channel_wide=True)
    wait_until(holder.connection, lambda: sum(holder.held.values()) >= 6)
    seen.append([sum(holder.held.values()), ready_count(holder.channel, QUEUE)])
    return seen


def both(holder: Holder) -> list[Json]:
    """Both limits must allow a delivery."""
    holder.qos(2, channel_wide=False)
    holder.qos(3, channel_wide=True)
    holder.consume("a")
    seen = [holder.step(2)]
    holder.consume("b")
    seen.append(holder.step(3))
    holder.qos(5, channel_wide=True)
    seen.append(holder.step(4))
    return seen


def each_drops_whole(holder: Holder) -> list[Json]:
    """global=false after global=true removes the channel-wide limit."""
    holder.qos(3, channel_wide=True)
    holder.qos(2, channel_wide=False)
    holder.consume("a")
    holder.consume("b")
    return [holder.step(4)]


def no_ack_and_get(holder: Holder) -> list[Json]:
    """Limits are for consumers that ack: neither basic.get nor a no-ack consumer is held back by them."""
    holder.qos(1, channel_wide=False)
    gets: list[Json] = [holder.channel.basic_get(QUEUE)[2].decode() for _ in range(3)]
    holder.consume("acks")
    seen = [gets, holder.step(1)]
    holder.consume("no-ack", auto_ack=True)
    seen.append(holder.step(7))
    return seen


def unlimited(holder: Holder) -> list[Json]:
    holder.qos(0, channel_wide=False)
    holder.consume("all")
    return [holder.step(COUNT)]


STORIES = [each_consumer, whole_channel, both, each_drops_whole, no_ack_and_get, unlimited]


def run(broker: Broker) -> Json:
    seen: dict[str, Json] = {}
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        for story in STORIES:
            holder = Holder(broker.url)
            seen[story.__name__] = story(holder)
            holder.close()
            drain(channel, QUEUE)
    return seen


EXPECTED: Json = {
    "each_consumer": [[{"two": 2}, 8], [{"two": 2, "five": 5}, 3], [{"two": 2, "five": 6}, 2]],
    "whole_channel": [[{"a": 3}, 7], [{"a": 3, "b": 0}, 7], [6, 4]],
    "both": [[{"a": 2}, 8], [{"a": 2, "b": 1}, 7], [{"a": 2, "b": 2}, 6]],
    "each_drops_whole": [[{"a": 2, "b": 2}, 6]],
    "no_ack_and_get": [["0", "1", "2"], [{"acks": 1}, 6], [{"acks": 1, "no-ack": 6}, 0]],
    "unlimited": [[{"all": 10}, 0]],
}

if __name__ == "__main__":
    main(run, EXPECTED)
