"""The scenarios with AMQPStorm.

It reads its socket in a thread of its own, so that nothing must be served while one waits.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from amqpstorm import AMQPChannelError, AMQPConnectionError, AMQPError, AMQPMessageError, Channel, Connection, Message

from interop.families.python.blocking_clients import (
    BOUND,
    BY_PRIORITY,
    COLOURED,
    MATCHES,
    PAMQP_PROPERTIES,
    PAMQP_TABLE,
    PRIORITIES,
    ReconnectingConsumer,
    bodies_around,
    check_expiry,
)
from interop.families.python.checks import (
    AMQP,
    PATIENCE,
    Heard,
    check,
    check_deaths,
    check_typed,
    control,
    death,
    lacks,
    raised,
    run,
    scenario,
    wait_for,
)

PERSISTENT, TRANSIENT = {"delivery_mode": 2}, {"delivery_mode": 1}


def connect(*, password: str = AMQP.password, vhost: str = AMQP.vhost) -> Connection:
    return Connection(AMQP.host, AMQP.user, password, AMQP.port, virtual_host=vhost)


@contextmanager
def opened() -> Iterator[Channel]:
    """A channel on a connection of its own."""
    with connect() as connection:
        yield confirming(connection)


def plain(connection: Connection) -> Channel:
    return connection.channel(rpc_timeout=int(PATIENCE))


def confirming(connection: Connection) -> Channel:
    """A channel with confirms: ``publish`` returns when the message is in its queue."""
    channel = plain(connection)
    channel.confirm_deliveries()
    return channel


class Inbox:
    """A consumer that keeps what comes."""

    def __init__(self, channel: Channel, queue: str, **options: Any) -> None:
        self.messages: list[Message] = []
        self.tag = channel.basic.consume(self.messages.append, queue, **options)
        self._channel = channel

    @property
    def bodies(self) -> list[Any]:
        return [message.body for message in self.messages]

    def wait(self, what: str, count: int) -> None:
        wait_for(what, lambda: len(self.messages) >= count, self._channel.process_data_events)

    def settle(self) -> None:
        """Give a message that should not come the time to come."""
        time.sleep(0.3)
        self._channel.process_data_events()


def private_queue(channel: Channel, arguments: dict[str, Any] | None = None) -> str:
    """A queue named by the server, which goes with the connection."""
    name: str = channel.queue.declare("", exclusive=True, arguments=arguments)["queue"]
    return name


def take(channel: Channel, queue: str) -> Message:
    """Wait for a message that is on its way into the queue, and get it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = channel.basic.get(queue, no_ack=True)
        if isinstance(message, Message):
            return message
        time.sleep(0.01)
    raise AssertionError(f"nothing came into {queue}")


def drain(channel: Channel, queue: str) -> list[Any]:
    """Take what is in the queue."""
    bodies = []
    while isinstance(message := channel.basic.get(queue, no_ack=True), Message):
        bodies.append(message.body)
    return bodies


def count_of(channel: Channel, queue: str) -> int:
    count: int = channel.queue.declare(queue, passive=True)["message_count"]
    return count


def channel_error(connection: Connection, act: Callable[[Channel], object]) -> int | None:
    """The code with which the broker closes a new channel because of this act."""
    channel = plain(connection)
    code: int | None = raised(AMQPChannelError, lambda: act(channel)).error_code
    return code


def queue_is_gone(queue: str) -> bool:
    with opened() as channel:
        try:
            channel.queue.declare(queue, passive=True)
        except AMQPChannelError as closed:
            return bool(closed.error_code == 404)
    return False


@scenario("connect")
def connecting() -> None:
    connection = connect()
    check("the server has a product", bool(connection.server_properties["product"]))
    for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
        check(capability, connection.server_properties["capabilities"][capability])
    channel = plain(connection)
    check("channel is open", channel.is_open)
    channel.close()
    check("channel is closed, connection open", (channel.is_closed, connection.is_open), (True, True))
    connection.close()
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
def auth_failure() -> None:
    refusal = raised(AMQPConnectionError, lambda: connect(password="wrong"))
    check("wrong password: 403", (refusal.error_code, refusal.error_type), (403, "ACCESS-REFUSED"))
    denial = raised(AMQPConnectionError, lambda: connect(vhost="interop.no-such-vhost"))
    check("unknown vhost: 530", (denial.error_code, denial.error_type), (530, "NOT-ALLOWED"))


@scenario("declare")
def declare() -> None:
    exchange, queue = "interop.declare", "interop.declare"
    with opened() as channel:
        for _ in range(2):
            channel.exchange.declare(exchange, "direct", durable=True)
            declared = channel.queue.declare(queue, durable=True)
            check("queue declared", declared, {"queue": queue, "message_count": 0, "consumer_count": 0})
        channel.queue.bind(queue, exchange, "key")
        for _ in range(3):
            channel.basic.publish("message", "key", exchange)
        check("passive: messages", count_of(channel, queue), 3)
        Inbox(channel, queue).wait("they are delivered", 3)
        check("passive: consumers", channel.queue.declare(queue, passive=True)["consumer_count"], 1)

    with connect() as connection:
        missing = channel_error(connection, lambda channel: channel.queue.declare("interop.missing", passive=True))
        check("passive, missing queue: 404", missing, 404)
        check("the connection stays open", connection.is_open)
        missing = channel_error(connection, lambda channel: channel.exchange.declare("interop.no", passive=True))
        check("passive, missing exchange: 404", missing, 404)
        other = channel_error(connection, lambda channel: channel.queue.declare(queue, durable=False))
        check("another durability: 406", other, 406)
        longer = {"x-max-length": 5}
        other = channel_error(connection, lambda channel: channel.queue.declare(queue, durable=True, arguments=longer))
        check("another argument: 406", other, 406)
        channel = confirming(connection)
        check("what was not acknowledged is back: purged", channel.queue.purge(queue)["message_count"], 3)
        channel.queue.unbind(queue, exchange, "key")
        unrouted = raised(AMQPMessageError, lambda: channel.basic.publish("", "key", exchange, mandatory=True))
        check("unbound", unrouted.error_code, 312)
        channel.basic.publish("the last", queue)
        check("delete tells the number", channel.queue.delete(queue), {"message_count": 1})
        check("deleted twice", channel.queue.delete(queue), {"message_count": 0})
        channel.exchange.delete(exchange)
        channel.exchange.delete(exchange)
        check("the channel is still open", channel.is_open)

    connection = connect()
    channel = plain(connection)
    unknown = raised(AMQPConnectionError, lambda: channel.exchange.declare("interop.odd", "x-odd"))
    check("unknown exchange type: 503", unknown.error_code, 503)
    check("the connection is closed", connection.is_closed)


@scenario("confirms")
def confirms() -> None:
    queue = "interop.confirms"
    bodies = [str(number) for number in range(1000)]
    with opened() as channel:
        channel.queue.declare(queue, durable=True)
        confirmed = [channel.basic.publish(body, queue, properties=dict(PERSISTENT)) for body in bodies]
        check("each is confirmed", confirmed.count(True), len(bodies))
        check("all are in the queue", count_of(channel, queue), len(bodies))
        inbox = Inbox(channel, queue, no_ack=True)
        inbox.wait("they come", len(bodies))
        check("in order", inbox.bodies == bodies)
        channel.basic.cancel(inbox.tag)
        channel.queue.delete(queue)


@scenario("mandatory-return")
def mandatory_return() -> None:
    with opened() as channel:
        # AMQPStorm raises it only when basic.return came before the confirm.
        error = raised(
            AMQPMessageError,
            lambda: channel.basic.publish("come back", "interop.nobody", "amq.direct", mandatory=True),
        )
        check("312 NO_ROUTE", (error.error_code, error.error_type), (312, "NO-ROUTE"))
        named = "NO_ROUTE (312) to queue 'interop.nobody' from exchange 'amq.direct'"
        check("exchange and key", str(error).endswith(named))
        lacks("body and properties", "AMQPStorm does not give the application the message that came back")


@scenario("consume")
def consume() -> None:
    with connect() as connection:
        # The queue is exclusive: it lives as long as this connection.
        publisher, channel = confirming(connection), plain(connection)
        queue = private_queue(publisher)
        for number in range(10):
            publisher.basic.publish(str(number), queue)
        channel.basic.qos(prefetch_count=3)
        inbox = Inbox(channel, queue)
        inbox.wait("three come", 3)
        inbox.settle()
        check("and no fourth", inbox.bodies, ["0", "1", "2"])
        channel.basic.ack(inbox.messages[1].delivery_tag or 0, multiple=True)
        inbox.wait("ack with multiple: two more come", 5)
        inbox.settle()
        check("not three", inbox.bodies[3:], ["3", "4"])
        inbox.messages[2].nack(requeue=True)
        inbox.wait("nack with requeue: it comes again", 6)
        again = inbox.messages[5]
        check("the same, redelivered", (again.body, again.redelivered), ("2", True))
        again.reject(requeue=False)
        inbox.wait("reject: the next one comes", 7)
        check("which is the next", inbox.bodies[6], "5")
        channel.basic.cancel(inbox.tag)
        check("cancelled: no consumer", publisher.queue.declare(queue, passive=True)["consumer_count"], 0)
        channel.close()
        check("what was not acknowledged is there again", drain(publisher, queue), [str(n) for n in range(3, 10)])


@scenario("get")
def get() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        channel.queue.bind(queue, "amq.direct", "interop.get")
        for body in ("first", "second"):
            channel.basic.publish(body, "interop.get", "amq.direct")
        first = got(channel, queue)
        told = {"redelivered": False, "exchange": "amq.direct", "routing_key": "interop.get", "message_count": 1}
        check("what it tells", first.method, {"delivery_tag": first.delivery_tag, **told})
        check("body", first.body, "first")
        first.nack(requeue=True)
        again = got(channel, queue)
        check("requeued: redelivered", (again.body, again.redelivered), ("first", True))
        again.ack()
        last = got(channel, queue, no_ack=True)
        check("the last one", (last.body, (last.method or {})["message_count"]), ("second", 0))
        check("the empty queue says so", channel.basic.get(queue), None)


def got(channel: Channel, queue: str, **options: Any) -> Message:
    message = channel.basic.get(queue, **options)
    assert isinstance(message, Message), f"{queue} is empty"
    return message


@scenario("exclusive")
def exclusive() -> None:
    with opened() as owner, connect() as other:
        queue = private_queue(owner)
        check("named by the server", queue.startswith("amq.gen-"))
        locked = channel_error(other, lambda channel: channel.queue.declare(queue, passive=True))
        check("another connection: 405", locked, 405)
        check("another consumer: 405", channel_error(other, lambda channel: channel.basic.consume(print, queue)), 405)
    check("gone with its connection", queue_is_gone(queue))
    with connect() as connection:
        channel = plain(connection)
        queue = private_queue(channel)
        Inbox(channel, queue, exclusive=True)
        refused = channel_error(connection, lambda channel: channel.basic.consume(print, queue))
        check("a second consumer: 403", refused, 403)


@scenario("auto-delete")
def auto_delete() -> None:
    queue, exchange = "interop.auto-delete", "interop.auto-delete"
    with connect() as connection:
        channel = plain(connection)
        channel.queue.declare(queue, durable=True, auto_delete=True)
        first, last = Inbox(channel, queue), Inbox(channel, queue)
        channel.basic.cancel(first.tag)
        check("stays while there is a consumer", not queue_is_gone(queue))
        channel.basic.cancel(last.tag)
        check("queue goes with its last consumer", queue_is_gone(queue))

        queue = private_queue(channel)
        channel.exchange.declare(exchange, "fanout", durable=True, auto_delete=True)
        channel.queue.bind(queue, exchange, "one")
        channel.queue.bind(queue, exchange, "two")
        channel.queue.unbind(queue, exchange, "one")
        check("stays while there is a binding", channel.exchange.declare(exchange, passive=True), {})
        channel.queue.unbind(queue, exchange, "two")
        gone = channel_error(connection, lambda channel: channel.exchange.declare(exchange, passive=True))
        check("exchange goes with its last binding", gone, 404)


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    source, destination = "interop.topics", "interop.fan"
    with opened() as channel:
        channel.exchange.declare(source, "topic", durable=True)
        channel.exchange.declare(destination, "fanout", durable=True)
        queue = private_queue(channel)
        channel.exchange.bind(destination, source, "stock.#")
        channel.queue.bind(queue, destination)
        channel.basic.publish("through both", "stock.nyse.ibm", source)
        channel.basic.publish("another topic", "weather.today", source)
        message = got(channel, queue, no_ack=True)
        check("comes through both", (message.body, (message.method or {})["exchange"]), ("through both", source))
        check("and nothing else", drain(channel, queue), [])
        channel.exchange.unbind(destination, source, "stock.#")
        channel.basic.publish("too late", "stock.nyse.ibm", source)
        check("not after unbind", drain(channel, queue), [])
        channel.exchange.delete(source)
        channel.exchange.delete(destination)


@scenario("headers")
def headers() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        channel.basic.publish("{}", queue, properties=dict(PAMQP_PROPERTIES))
        seen = {name: value for name, value in got(channel, queue).properties.items() if value}
        for name, value in PAMQP_TABLE.items():
            check_typed(f"header {name}", seen["headers"][name], value)
        check_typed("all properties", seen, PAMQP_PROPERTIES)

        for match, numbers in MATCHES.items():
            bound = private_queue(channel)
            channel.queue.bind(bound, "amq.headers", arguments={"x-match": match, **BOUND})
            for number, table in enumerate(COLOURED):
                channel.basic.publish(str(number), "", "amq.headers", {"headers": table})
            check(f"x-match {match}", drain(channel, bound), [str(number) for number in numbers])


@scenario("dead-letter")
def dead_letter() -> None:
    exchange = "interop.dead"
    with opened() as channel:
        channel.exchange.declare(exchange, "direct", durable=True)
        dead = private_queue(channel)
        channel.queue.bind(dead, exchange, "buried")
        to_dead = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "buried"}
        for reason, limits in (("rejected", {}), ("expired", {"x-message-ttl": 20}), ("maxlen", {"x-max-length": 1})):
            queue = private_queue(channel, {**to_dead, **limits})
            channel.basic.publish("dies", queue)
            if reason == "rejected":
                got(channel, queue).reject(requeue=False)
            if reason == "maxlen":
                channel.basic.publish("pushes", queue)
            letter = take(channel, dead)
            method = letter.method or {}
            arrived = (letter.body, method["exchange"], method["routing_key"])
            check(f"{reason}: arrives", arrived, ("dies", exchange, "buried"))
            check_deaths(reason, letter.properties["headers"], death(reason, queue))

        # A rejected message waits in a queue without consumers and comes back: each queue counts its own deaths.
        work, wait = "interop.dead.work", "interop.dead.wait"
        retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 20}
        channel.queue.declare(work, exclusive=True, arguments=retry)
        channel.queue.declare(wait, exclusive=True, arguments=back)
        channel.basic.publish("try me", work)
        inbox = Inbox(channel, work)
        for attempt in (1, 2):
            inbox.wait(f"attempt {attempt}", attempt)
            inbox.messages[-1].reject(requeue=False)
        inbox.wait("attempt 3", 3)
        rows = death("expired", wait, 2), death("rejected", work, 2)
        check_deaths("twice", inbox.messages[-1].properties["headers"], *rows)
        channel.exchange.delete(exchange)


@scenario("ttl")
def ttl() -> None:
    with opened() as channel:
        check_expires(channel, "expiration", 60000, "50")
        check_expires(channel, "x-message-ttl", 50, "60000")
        queue = private_queue(channel)
        channel.basic.publish("", queue)
        check("without either it stays", count_of(channel, queue), 1)

        queue = "interop.ttl.expires"

        # A declaration or basic.get would count as use, publishing does not.
        def is_there() -> bool:
            try:
                channel.basic.publish("", queue, mandatory=True)
            except AMQPMessageError:
                return False
            return True

        check_expiry(lambda ms: channel.queue.declare(queue, durable=True, arguments={"x-expires": ms}), is_there)


def check_expires(channel: Channel, smaller: str, message_ttl: int, expiration: str) -> None:
    queue = private_queue(channel, {"x-message-ttl": message_ttl})
    # Mandatory: it raises when no queue gets the message. To count it first could take longer than it stays.
    channel.basic.publish("", queue, properties={"expiration": expiration}, mandatory=True)
    wait_for(f"{smaller}: the smaller one counts", lambda: count_of(channel, queue) == 0)


@scenario("priority")
def priority() -> None:
    with opened() as channel:
        queue = private_queue(channel, {"x-max-priority": 10})
        for place, number in enumerate(PRIORITIES):
            channel.basic.publish(str(place), queue, properties={"priority": number})
        check("by priority, equal ones in order", drain(channel, queue), [str(place) for place in BY_PRIORITY])


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    with opened() as client, opened() as server:
        requests = "interop.rpc"
        server.queue.declare(requests, durable=True)

        def answer(request: Message) -> None:
            body = f"{request.body} and back"
            server.basic.publish(body, request.reply_to or "", properties={"correlation_id": request.correlation_id})
            request.ack()

        server.basic.consume(answer, requests)
        replies = Inbox(client, "amq.rabbitmq.reply-to", no_ack=True)
        for number in range(100):
            properties = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": str(number)}
            client.basic.publish(f"call {number}", requests, properties=properties)
            deadline = time.monotonic() + PATIENCE
            while len(replies.messages) <= number and time.monotonic() < deadline:
                server.process_data_events()
                client.process_data_events()
        seen = [(reply.correlation_id, reply.body) for reply in replies.messages]
        check("each call has its answer", seen == [(str(n), f"call {n} and back") for n in range(100)])
        server.queue.delete(requests)


@scenario("large-message")
def large_message() -> None:
    with connect() as connection:
        channel = confirming(connection)
        queue = private_queue(channel)
        for body in bodies_around(connection.max_frame_size):
            channel.basic.publish(body, queue)
            # Not check(what, seen, expected): its explanation would show the bodies.
            check(f"{len(body)} bytes", got(channel, queue, auto_decode=False).body == body)


@scenario("cancel-notify")
def cancel_notify() -> None:
    with connect() as connection:
        channel, other = confirming(connection), plain(connection)
        queue = private_queue(other)
        inbox = Inbox(channel, queue)
        check("it consumes", channel.consumer_tags, [inbox.tag])
        consuming = threading.Thread(target=channel.start_consuming, daemon=True)
        consuming.start()
        other.queue.delete(queue)
        consuming.join(PATIENCE)
        check("the client is told: start_consuming() returns", not consuming.is_alive())
        check("it knows which consumer", channel.consumer_tags, [])
        queue = private_queue(channel)
        inbox = Inbox(channel, queue)
        channel.basic.publish("still here", queue)
        inbox.wait("the channel works on", 1)


@scenario("blocked")
def blocked() -> None:
    queue = "interop.blocked"
    log = Heard("amqpstorm.channel0")
    with connect() as connection, opened() as reader:
        reader.queue.declare(queue, durable=True)
        publisher = plain(connection)
        published = 0

        def publish() -> None:
            nonlocal published
            publisher.basic.publish(str(published), queue)
            published += 1
            time.sleep(0.05)

        try:
            control("alarm", "on")
            # Its thread says so in the log a moment later.
            wait_for("connection.blocked comes", lambda: connection.is_blocked and bool(log.messages), publish)
            said, _, reason = log.messages[-1].partition(": ")
            check("it has a reason, in the log", (said, bool(reason)), ("Connection is blocked by remote server", True))
        finally:
            control("alarm", "off")
        wait_for("connection.unblocked comes", lambda: not connection.is_blocked)
        wait_for("what was published arrives", lambda: count_of(reader, queue) == published)
        check("in order", drain(reader, queue) == [str(number) for number in range(published)])
        reader.queue.delete(queue)


def consume_until_stop(queue: str, consumer: ReconnectingConsumer) -> None:
    with opened() as channel:

        def on_message(message: Message) -> None:
            message.ack()
            channel.queue.declare(queue, passive=True)  # answered after the ack has been taken
            if consumer.take(str(message.body)):
                channel.stop_consuming()

        channel.basic.consume(on_message, queue)
        consumer.connected()
        channel.start_consuming()


@scenario("recovery")
def recovery() -> None:
    exchange, consumed, kept = "interop.recovery", "interop.recovery.consumed", "interop.recovery.kept"
    with opened() as channel:
        channel.exchange.declare(exchange, "direct", durable=True)
        for queue in (consumed, kept):
            channel.queue.declare(queue, durable=True)
            channel.queue.bind(queue, exchange, queue)
        for number in range(5):
            channel.basic.publish(f"persistent {number}", kept, exchange, dict(PERSISTENT))
            channel.basic.publish(f"transient {number}", kept, exchange, dict(TRANSIENT))
        channel.basic.publish("before", consumed, exchange, dict(PERSISTENT))
    consumer = ReconnectingConsumer(partial(consume_until_stop, consumed), (AMQPError,))
    consumer.check_restart()
    with opened() as channel:
        channel.exchange.declare(exchange, "direct", passive=True)
        persistent = [f"persistent {number}" for number in range(5)]
        check("persistent messages are there, transient are not", drain(channel, kept), persistent)
        channel.basic.publish("after", kept, exchange, mandatory=True)
        check("the bindings are there", drain(channel, kept), ["after"])
        for body in ("after", "stop"):
            channel.basic.publish(body, consumed, exchange, mandatory=True)
        consumer.check_end()
        for queue in (consumed, kept):
            channel.queue.delete(queue)
        channel.exchange.delete(exchange)


if __name__ == "__main__":
    run()
