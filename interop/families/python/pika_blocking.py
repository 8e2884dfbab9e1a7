"""The scenarios with pika's BlockingConnection."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

from pika import BasicProperties, BlockingConnection, ConnectionParameters, DeliveryMode, PlainCredentials
from pika.adapters.blocking_connection import BlockingChannel
from pika.compat import long
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)
from pika.spec import Basic

from interop.families.python.blocking_clients import (
    BOUND,
    BY_PRIORITY,
    COLOURED,
    MATCHES,
    MOMENT,
    PRIORITIES,
    PROPERTIES,
    TABLE,
    ReconnectingConsumer,
    bodies_around,
    check_expiry,
)
from interop.families.python.checks import (
    AMQP,
    PATIENCE,
    check,
    check_deaths,
    check_typed,
    control,
    death,
    raised,
    run,
    scenario,
    wait_for,
)

FRAME_MAX = 131072
PERSISTENT = BasicProperties(delivery_mode=DeliveryMode.Persistent)
TRANSIENT = BasicProperties(delivery_mode=DeliveryMode.Transient)


def connect(*, password: str = AMQP.password, vhost: str = AMQP.vhost) -> BlockingConnection:
    credentials = PlainCredentials(AMQP.user, password)
    return BlockingConnection(ConnectionParameters(AMQP.host, AMQP.port, vhost, credentials, frame_max=FRAME_MAX))


@contextmanager
def opened() -> Iterator[BlockingChannel]:
    """A channel on a connection of its own."""
    with connect() as connection:
        yield confirming(connection)


def confirming(connection: BlockingConnection) -> BlockingChannel:
    """A channel with confirms: ``basic_publish`` returns when the message is in its queue."""
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


class Inbox:
    """A consumer that keeps what comes."""

    def __init__(self, channel: BlockingChannel, queue: str, **options: Any) -> None:
        self.messages: list[tuple[Any, BasicProperties, bytes]] = []
        self._connection = channel.connection
        self.tag = channel.basic_consume(queue, lambda _channel, *message: self.messages.append(message), **options)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _method, _properties, body in self.messages]

    def wait(self, what: str, count: int) -> None:
        wait_for(what, lambda: len(self.messages) >= count, lambda: self._connection.process_data_events(0.05))

    def settle(self) -> None:
        """Give a message that should not come the time to come."""
        self._connection.process_data_events(0.3)


def take(channel: BlockingChannel, queue: str) -> tuple[Any, Any, Any]:
    """Wait for a message that is on its way into the queue, and get it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            return method, properties, body
        channel.connection.process_data_events(0.01)
    raise AssertionError(f"nothing came into {queue}")


def drain(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take what is in the queue."""
    bodies: list[bytes] = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        bodies.append(body)
    return bodies


def count_of(channel: BlockingChannel, queue: str) -> int:
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def is_gone(queue: str) -> bool:
    """Whether a passive declaration, on a connection of its own, says 404."""
    with opened() as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as closed:
            return bool(closed.reply_code == 404)
    return False


@scenario("connect")
def connecting() -> None:
    connection = connect()
    # BlockingConnection has properties for the capabilities, but keeps the whole table to itself.
    properties = connection._impl.server_properties
    check("the server has a product", bool(properties["product"]))
    check("publisher_confirms", connection.publisher_confirms_supported)
    check("consumer_cancel_notify", connection.consumer_cancel_notify_supported)
    check("basic.nack", connection.basic_nack_supported)
    channel = connection.channel()
    check("channel is open", channel.is_open)
    channel.close()
    check("channel is closed, connection open", (channel.is_closed, connection.is_open), (True, True))
    connection.close()
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
def auth_failure() -> None:
    refusal = raised(ProbableAuthenticationError, lambda: connect(password="wrong"))
    check("wrong password: 403 ACCESS_REFUSED", "(403) 'ACCESS_REFUSED" in str(refusal.args[0]))
    denial = raised(ProbableAccessDeniedError, lambda: connect(vhost="interop.no-such-vhost"))
    check("unknown vhost: 530 NOT_ALLOWED", "(530) 'NOT_ALLOWED" in str(denial.args[0]))


@scenario("declare")
def declare() -> None:
    exchange, queue = "interop.declare", "interop.declare"
    with connect() as connection:
        channel = confirming(connection)
        for _ in range(2):
            channel.exchange_declare(exchange, "direct", durable=True)
            check("queue declared", channel.queue_declare(queue, durable=True).method.queue, queue)
        channel.queue_bind(queue, exchange, "key")
        for _ in range(3):
            channel.basic_publish(exchange, "key", b"message")
        check("passive: messages", count_of(channel, queue), 3)
        inbox = Inbox(connection.channel(), queue)
        inbox.wait("they are delivered", 3)
        check("passive: consumers", channel.queue_declare(queue, passive=True).method.consumer_count, 1)

    with connect() as connection:
        channel = connection.channel()
        missing = raised(ChannelClosedByBroker, lambda: channel.queue_declare("interop.missing", passive=True))
        check("passive, missing queue: 404", missing.reply_code, 404)
        check("the connection stays open", connection.is_open)
        check_refused(connection, "passive, missing exchange: 404", 404, "exchange_declare", "interop.no", passive=True)
        check_refused(connection, "another durability: 406", 406, "queue_declare", queue, durable=False)
        other = {"x-max-length": 5}
        check_refused(connection, "another argument: 406", 406, "queue_declare", queue, durable=True, arguments=other)
        channel = confirming(connection)
        check("what was not acknowledged is back: purged", channel.queue_purge(queue).method.message_count, 3)
        channel.queue_unbind(queue, exchange, "key")
        returned = raised(UnroutableError, lambda: channel.basic_publish(exchange, "key", b"", mandatory=True))
        check("unbound", returned.messages[0].method.reply_code, 312)
        channel.basic_publish("", queue, b"the last")
        check("delete tells the number", channel.queue_delete(queue).method.message_count, 1)
        check("deleted twice", channel.queue_delete(queue).method.message_count, 0)
        channel.exchange_delete(exchange)
        channel.exchange_delete(exchange)
        check("the channel is still open", channel.is_open)

    connection = connect()
    unknown = raised(ConnectionClosedByBroker, lambda: connection.channel().exchange_declare("interop.odd", "x-odd"))
    check("unknown exchange type: 503", unknown.reply_code, 503)
    check("the connection is closed", connection.is_closed)


def check_refused(
    connection: BlockingConnection, what: str, code: int, method: str, *args: Any, **options: Any
) -> None:
    """Call a method on a new channel; the broker must close the channel with this code."""
    channel = connection.channel()
    closed = raised(ChannelClosedByBroker, lambda: getattr(channel, method)(*args, **options))
    check(what, closed.reply_code, code)


@scenario("confirms")
def confirms() -> None:
    queue = "interop.confirms"
    bodies = [b"%d" % number for number in range(1000)]
    with opened() as channel:
        channel.queue_declare(queue, durable=True)
        for body in bodies:
            # It returns when the confirm is there, and raises NackError when it is a nack.
            channel.basic_publish("", queue, body, PERSISTENT)
        check("all are in the queue", count_of(channel, queue), len(bodies))
        check("in order", drain(channel, queue) == bodies)
        channel.queue_delete(queue)


@scenario("mandatory-return")
def mandatory_return() -> None:
    properties = BasicProperties("text/plain", headers={"n": 1}, correlation_id="42", message_id="m-1")
    with opened() as channel:
        # BlockingChannel looks at both only when it has read all there is; the channel below it tells their order.
        order: list[str] = []
        channel._impl.add_on_return_callback(lambda *_message: order.append("return"))
        channel._impl.add_callback(lambda _frame: order.append("confirm"), [Basic.Ack], one_shot=False)
        error = raised(
            UnroutableError,
            lambda: channel.basic_publish("amq.direct", "interop.nobody", b"come back", properties, mandatory=True),
        )
        check("before its confirm", order, ["return", "confirm"])
        (message,) = error.messages
        check("312 NO_ROUTE", (message.method.reply_code, message.method.reply_text), (312, "NO_ROUTE"))
        check(
            "exchange and key", (message.method.exchange, message.method.routing_key), ("amq.direct", "interop.nobody")
        )
        check("body", message.body, b"come back")
        check_typed("properties", vars(message.properties), vars(properties))


@scenario("consume")
def consume() -> None:
    with connect() as connection:
        # The queue is exclusive: it lives as long as this connection.
        publisher, channel = confirming(connection), connection.channel()
        queue = publisher.queue_declare("", exclusive=True).method.queue
        for number in range(10):
            publisher.basic_publish("", queue, b"%d" % number)
        channel.basic_qos(prefetch_count=3)
        inbox = Inbox(channel, queue)
        inbox.wait("three come", 3)
        inbox.settle()
        check("and no fourth", inbox.bodies, [b"0", b"1", b"2"])
        check("not redelivered", [method.redelivered for method, _properties, _body in inbox.messages], [False] * 3)
        channel.basic_ack(inbox.messages[1][0].delivery_tag, multiple=True)
        inbox.wait("ack with multiple: two more come", 5)
        inbox.settle()
        check("not three", inbox.bodies[3:], [b"3", b"4"])
        channel.basic_nack(inbox.messages[2][0].delivery_tag, requeue=True)
        inbox.wait("nack with requeue: it comes again", 6)
        again, _properties, body = inbox.messages[5]
        check("the same, redelivered", (body, again.redelivered), (b"2", True))
        channel.basic_reject(again.delivery_tag, requeue=False)
        inbox.wait("reject: the next one comes", 7)
        check("which is the next", inbox.bodies[6], b"5")
        channel.basic_cancel(inbox.tag)
        check("cancelled: no consumer", publisher.queue_declare(queue, passive=True).method.consumer_count, 0)
        channel.close()
        check("what was not acknowledged is there again", drain(publisher, queue), [b"%d" % n for n in range(3, 10)])


@scenario("get")
def get() -> None:
    with opened() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.direct", "interop.get")
        for body in (b"first", b"second"):
            channel.basic_publish("amq.direct", "interop.get", body)
        method, _properties, body = channel.basic_get(queue)
        check("exchange and key", (method.exchange, method.routing_key), ("amq.direct", "interop.get"))
        check("not redelivered, one left", (method.redelivered, method.message_count), (False, 1))
        check("body", body, b"first")
        channel.basic_nack(method.delivery_tag)
        method, _properties, body = channel.basic_get(queue)
        check("requeued: redelivered", (body, method.redelivered), (b"first", True))
        channel.basic_ack(method.delivery_tag)
        method, _properties, body = channel.basic_get(queue, auto_ack=True)
        check("the last one", (body, method.message_count), (b"second", 0))
        check("the empty queue says so", channel.basic_get(queue), (None, None, None))


@scenario("exclusive")
def exclusive() -> None:
    with connect() as owner, connect() as other:
        queue = owner.channel().queue_declare("", exclusive=True).method.queue
        check("named by the server", queue.startswith("amq.gen-"))
        check_refused(other, "another connection: 405", 405, "queue_declare", queue, passive=True)
        check_refused(other, "another consumer: 405", 405, "basic_consume", queue, print)
    check("gone with its connection", is_gone(queue))
    with connect() as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        Inbox(channel, queue, exclusive=True)
        check_refused(connection, "a second consumer: 403", 403, "basic_consume", queue, print)


@scenario("auto-delete")
def auto_delete() -> None:
    queue, exchange = "interop.auto-delete", "interop.auto-delete"
    with connect() as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=True)
        first, last = Inbox(channel, queue), Inbox(channel, queue)
        channel.basic_cancel(first.tag)
        check("stays while there is a consumer", not is_gone(queue))
        channel.basic_cancel(last.tag)
        check("queue goes with its last consumer", is_gone(queue))

        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.exchange_declare(exchange, "fanout", durable=True, auto_delete=True)
        channel.queue_bind(queue, exchange, "one")
        channel.queue_bind(queue, exchange, "two")
        channel.queue_unbind(queue, exchange, "one")
        channel.exchange_declare(exchange, passive=True)
        channel.queue_unbind(queue, exchange, "two")
        check_refused(
            connection, "exchange goes with its last binding", 404, "exchange_declare", exchange, passive=True
        )


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    source, destination = "interop.topics", "interop.fan"
    with opened() as channel:
        channel.exchange_declare(source, "topic", durable=True)
        channel.exchange_declare(destination, "fanout", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.exchange_bind(destination, source, "stock.#")
        channel.queue_bind(queue, destination)
        channel.basic_publish(source, "stock.nyse.ibm", b"through both")
        channel.basic_publish(source, "weather.today", b"another topic")
        method, _properties, body = channel.basic_get(queue, auto_ack=True)
        check("comes through both", (body, method.exchange), (b"through both", source))
        check("and nothing else", drain(channel, queue), [])
        channel.exchange_unbind(destination, source, "stock.#")
        channel.basic_publish(source, "stock.nyse.ibm", b"too late")
        check("not after unbind", drain(channel, queue), [])
        channel.exchange_delete(source)
        channel.exchange_delete(destination)


# pika writes no floats, and one integer type for each of int (32 bits) and long (64 bits).
HEADERS = {
    **TABLE,
    "long": [long(0), long(-(2**63)), long(2**63 - 1)],
    "decimal": Decimal("-12345.67"),
    "bytes": b"\x00\xff\xfe",
    "bytes that could be text": b"text",
    "timestamp": MOMENT,
    "array": [1, long(2), "three", True, None, [4]],
}


@scenario("headers")
def headers() -> None:
    with opened() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        properties = BasicProperties(
            **PROPERTIES, headers=HEADERS, timestamp=int(MOMENT.timestamp()), type="type", cluster_id="cluster"
        )
        channel.basic_publish("", queue, b"{}", properties)
        _method, seen, _body = channel.basic_get(queue, auto_ack=True)
        for name, value in HEADERS.items():
            check_typed(f"header {name}", seen.headers[name], value)
        check_typed("all properties", vars(seen), vars(properties))

        for match, numbers in MATCHES.items():
            bound = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(bound, "amq.headers", arguments={"x-match": match, **BOUND})
            for number, table in enumerate(COLOURED):
                channel.basic_publish("amq.headers", "", b"%d" % number, BasicProperties(headers=table))
            check(f"x-match {match}", drain(channel, bound), [b"%d" % number for number in numbers])


@scenario("dead-letter")
def dead_letter() -> None:
    exchange = "interop.dead"
    with opened() as channel:
        channel.exchange_declare(exchange, "direct", durable=True)
        dead = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(dead, exchange, "buried")
        to_dead = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "buried"}
        for reason, limits in (("rejected", {}), ("expired", {"x-message-ttl": 20}), ("maxlen", {"x-max-length": 1})):
            queue = channel.queue_declare("", exclusive=True, arguments={**to_dead, **limits}).method.queue
            channel.basic_publish("", queue, b"dies")
            if reason == "rejected":
                channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)
            if reason == "maxlen":
                channel.basic_publish("", queue, b"pushes")
            method, properties, body = take(channel, dead)
            check(f"{reason}: arrives", (body, method.exchange, method.routing_key), (b"dies", exchange, "buried"))
            check_deaths(reason, properties.headers, death(reason, queue, long(1)))

        # A rejected message waits in a queue without consumers and comes back: each queue counts its own deaths.
        work, wait = "interop.dead.work", "interop.dead.wait"
        retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 20}
        channel.queue_declare(work, exclusive=True, arguments=retry)
        channel.queue_declare(wait, exclusive=True, arguments=back)
        channel.basic_publish("", work, b"try me")
        inbox = Inbox(channel, work)
        for attempt in (1, 2):
            inbox.wait(f"attempt {attempt}", attempt)
            channel.basic_reject(inbox.messages[-1][0].delivery_tag, requeue=False)
        inbox.wait("attempt 3", 3)
        rows = death("expired", wait, long(2)), death("rejected", work, long(2))
        check_deaths("twice", inbox.messages[-1][1].headers, *rows)
        channel.exchange_delete(exchange)


@scenario("ttl")
def ttl() -> None:
    with opened() as channel:
        check_expires(channel, "expiration", 60000, "50")
        check_expires(channel, "x-message-ttl", 50, "60000")
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"", PERSISTENT)
        check("without either it stays", count_of(channel, queue), 1)

        queue = "interop.ttl.expires"

        # A declaration or basic.get would count as use, publishing does not.
        def is_there() -> bool:
            try:
                channel.basic_publish("", queue, b"", mandatory=True)
            except UnroutableError:
                return False
            return True

        check_expiry(lambda ms: channel.queue_declare(queue, durable=True, arguments={"x-expires": ms}), is_there)


def check_expires(channel: BlockingChannel, smaller: str, message_ttl: int, expiration: str) -> None:
    queue = channel.queue_declare("", exclusive=True, arguments={"x-message-ttl": message_ttl}).method.queue
    # Mandatory: it raises when no queue gets the message. To count it first could take longer than it stays.
    channel.basic_publish("", queue, b"", BasicProperties(expiration=expiration), mandatory=True)
    wait_for(f"{smaller}: the smaller one counts", lambda: count_of(channel, queue) == 0)


@scenario("priority")
def priority() -> None:
    with opened() as channel:
        queue = channel.queue_declare("", exclusive=True, arguments={"x-max-priority": 10}).method.queue
        for place, number in enumerate(PRIORITIES):
            channel.basic_publish("", queue, b"%d" % place, BasicProperties(priority=number))
        check("by priority, equal ones in order", drain(channel, queue), [b"%d" % place for place in BY_PRIORITY])


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    with connect() as client, connect() as server:

        def answer(channel: BlockingChannel, method: Any, properties: BasicProperties, body: bytes) -> None:
            reply = BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, body * 2, reply)
            channel.basic_ack(method.delivery_tag)

        requests = "interop.rpc"
        serving = server.channel()
        serving.queue_declare(requests, durable=True)
        serving.basic_consume(requests, answer)
        channel = client.channel()
        replies = Inbox(channel, "amq.rabbitmq.reply-to", auto_ack=True)
        for number in range(100):
            properties = BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(number))
            channel.basic_publish("", requests, b"%d." % number, properties)
            deadline = time.monotonic() + PATIENCE
            while len(replies.messages) <= number and time.monotonic() < deadline:
                server.process_data_events(0.001)
                client.process_data_events(0.001)
        seen = [(properties.correlation_id, body) for _method, properties, body in replies.messages]
        check("each call has its answer", seen == [(str(n), b"%d.%d." % (n, n)) for n in range(100)])
        serving.queue_delete(requests)


@scenario("large-message")
def large_message() -> None:
    with opened() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        for body in bodies_around(FRAME_MAX):
            channel.basic_publish("", queue, body)
            # Not check(what, seen, expected): its explanation would show the bodies.
            check(f"{len(body)} bytes", drain(channel, queue) == [body])


@scenario("cancel-notify")
def cancel_notify() -> None:
    with connect() as connection:
        channel, other = connection.channel(), connection.channel()
        queue = other.queue_declare("", exclusive=True).method.queue
        cancelled: list[Any] = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        inbox = Inbox(channel, queue)
        other.queue_delete(queue)
        wait_for("the client is told", lambda: bool(cancelled), lambda: connection.process_data_events(0.05))
        check("which consumer", cancelled, [inbox.tag])
        check("the channel has no consumer left", channel.consumer_tags, [])
        queue = channel.queue_declare("", exclusive=True).method.queue
        inbox = Inbox(channel, queue)
        channel.basic_publish("", queue, b"still here")
        inbox.wait("the channel works on", 1)


@scenario("blocked")
def blocked() -> None:
    queue = "interop.blocked"
    with connect() as publisher, opened() as reader:
        told: list[Any] = []
        publisher.add_on_connection_blocked_callback(lambda _connection, frame: told.append(frame.method))
        publisher.add_on_connection_unblocked_callback(lambda _connection, frame: told.append(frame.method))
        reader.queue_declare(queue, durable=True)
        channel = publisher.channel()
        published = 0

        def publish() -> None:
            nonlocal published
            channel.basic_publish("", queue, b"%d" % published)
            published += 1
            publisher.process_data_events(0.05)

        try:
            control("alarm", "on")
            wait_for("connection.blocked comes", lambda: bool(told), publish)
            check("it has a reason", bool(told[0].reason))
        finally:
            control("alarm", "off")
        wait_for("connection.unblocked comes", lambda: len(told) > 1, lambda: publisher.process_data_events(0.05))
        check("these two", [method.NAME for method in told], ["Connection.Blocked", "Connection.Unblocked"])
        wait_for("what was published arrives", lambda: count_of(reader, queue) == published)
        check("in order", drain(reader, queue) == [b"%d" % number for number in range(published)])
        reader.queue_delete(queue)


def consume_until_stop(queue: str, consumer: ReconnectingConsumer) -> None:
    def on_message(channel: BlockingChannel, method: Any, _properties: BasicProperties, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        channel.queue_declare(queue, passive=True)  # answered after the ack has been taken
        if consumer.take(body.decode()):
            channel.stop_consuming()

    with connect() as connection:
        channel = connection.channel()
        channel.basic_consume(queue, on_message)
        consumer.connected()
        channel.start_consuming()


@scenario("recovery")
def recovery() -> None:
    exchange, consumed, kept = "interop.recovery", "interop.recovery.consumed", "interop.recovery.kept"
    with opened() as channel:
        channel.exchange_declare(exchange, "direct", durable=True)
        for queue in (consumed, kept):
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, exchange, queue)
        for number in range(5):
            channel.basic_publish(exchange, kept, b"persistent %d" % number, PERSISTENT)
            channel.basic_publish(exchange, kept, b"transient %d" % number, TRANSIENT)
        channel.basic_publish(exchange, consumed, b"before", PERSISTENT)
    consumer = ReconnectingConsumer(partial(consume_until_stop, consumed), (AMQPConnectionError,))
    consumer.check_restart()
    with opened() as channel:
        channel.exchange_declare(exchange, "direct", durable=True, passive=True)
        check(
            "persistent messages are there, transient are not",
            drain(channel, kept),
            [b"persistent %d" % n for n in range(5)],
        )
        channel.basic_publish(exchange, kept, b"after", PERSISTENT, mandatory=True)
        check("the bindings are there", drain(channel, kept), [b"after"])
        for body in (b"after", b"stop"):
            channel.basic_publish(exchange, consumed, body, PERSISTENT, mandatory=True)
        consumer.check_end()
        for queue in (consumed, kept):
            channel.queue_delete(queue)
        channel.exchange_delete(exchange)


if __name__ == "__main__":
    run()
