"""An exclusive consumer is the only one of its queue; when it goes, another may take its place."""

from typing import Any

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import Inbox, lose, serve

QUEUE = "interop.only"


def run(broker: Broker) -> Json:
    url = broker.url
    with scratch(url, queues=[QUEUE]), connect(url) as connection, connect(url) as other:
        channel = other.channel()
        channel.queue_declare(QUEUE)
        seen: dict[str, Json] = {}

        def try_exclusive() -> Any:
            return other.channel().basic_consume(QUEUE, print, exclusive=True)

        only = Inbox(connection, QUEUE, exclusive=True)
        seen["beside it"] = refusal(lambda: other.channel().basic_consume(QUEUE, print))
        seen["another exclusive one"] = refusal(try_exclusive)
        channel.basic_publish("", QUEUE, b"1")
        only.wait_for(1)
        channel.basic_publish("", QUEUE, b"2")
        only.wait_for(2)
        only.ack("1")
        seen["delivered"] = [*only.bodies]
        only.channel.basic_cancel(only.tag)
        # What the first one holds does not keep the next one away.
        next_one = Inbox(connection, QUEUE, exclusive=True)
        channel.basic_publish("", QUEUE, b"3")
        next_one.wait_for(1)
        seen["the next one"] = [*next_one.bodies]
        lose(connection)
        third: list[Inbox] = []

        def taken_over() -> bool:
            """The broker may see the loss later than the next consumer's request."""
            return refusal(lambda: third.append(Inbox(other, QUEUE, exclusive=True))) == ["accepted"]

        serve([], taken_over)
        third[0].wait_for(2)
        seen["after a lost connection"] = [*third[0].bodies]
        third[0].channel.close()
        seen["left"] = drain(channel, QUEUE)
        return seen


EXPECTED: Json = {
    "beside it": ["channel", 403, "ACCESS_REFUSED - queue 'interop.only' in vhost '/' in exclusive use"],
    "another exclusive one": ["channel", 403, "ACCESS_REFUSED - queue 'interop.only' in vhost '/' in exclusive use"],
    "delivered": ["1", "2"],
    "the next one": ["3"],
    "after a lost connection": ["2 again", "3 again"],
    "left": ["2", "3"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
