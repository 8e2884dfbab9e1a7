"""aiormq: the protocol's own methods on an asyncio channel, with confirms on by default and nothing restored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage, FieldTable
from aiormq.exceptions import AMQPConnectionError, PublishError

from interop.families.python.asyncio_clients import (
    BOUND_TO,
    MATCHED,
    MATCHING,
    NOT_FOUND,
    NOT_REFUSED,
    PROPERTIES,
    REPLY_TO,
    TABLE,
    Inbox,
    check_capabilities,
    check_expiry,
    check_letters,
    check_refused_logins,
    check_returned,
    check_second_deaths,
    check_table,
    dead_letters_to,
    large_bodies,
    publish_during_alarm,
    refusal,
    scratch,
)
from interop.families.python.checks import AMQP, arrival, check, control, run, scenario

Basic = aiormq.spec.Basic
Letters = Inbox[DeliveredMessage]
RECONNECT_SECONDS = 0.1


@asynccontextmanager
async def session(
    queues: Sequence[str] = (), exchanges: Sequence[str] = ()
) -> AsyncIterator[tuple[AbstractConnection, AbstractChannel]]:
    """A connection and a channel of the scenario's own; what it declares under these names is deleted again."""
    async with scratch(queues, exchanges), aiormq.connect(AMQP.url) as connection:
        yield connection, await connection.channel()


async def refused(action: Callable[[AbstractChannel], Awaitable[object]]) -> tuple[str, str]:
    """What becomes of an action on a connection of its own."""
    async with aiormq.connect(AMQP.url) as connection:
        return await refusal(action(await connection.channel()))


async def exists(queue: str) -> bool:
    return await refused(lambda channel: channel.queue_declare(queue, passive=True)) == NOT_REFUSED


async def publish(channel: AbstractChannel, queue: str, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        await channel.basic_publish(body, routing_key=queue, properties=Basic.Properties(**properties))


async def ready(channel: AbstractChannel, queue: str) -> int | None:
    return (await channel.queue_declare(queue, passive=True)).message_count


async def drain(channel: AbstractChannel, queue: str) -> list[DeliveredMessage]:
    messages = []
    while isinstance((message := await channel.basic_get(queue, no_ack=True)).delivery, Basic.GetOk):
        messages.append(message)
    return messages


def tag(message: DeliveredMessage) -> int:
    """The delivery tag of a message that has one."""
    assert message.delivery_tag is not None
    return message.delivery_tag


@scenario("connect")
async def connecting() -> None:
    connection = await aiormq.connect(AMQP.url)
    check_capabilities(connection.server_properties)
    channel = await connection.channel()
    check("channel is open", channel.is_closed, False)
    await channel.close()
    await connection.close()
    check("channel is closed", channel.is_closed)
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
async def auth_failure() -> None:
    await check_refused_logins(aiormq.connect)


@scenario("declare")
async def declare() -> None:
    name = "interop.declare"
    async with session([name], [name]) as (connection, channel):
        for _ in range(2):
            await channel.exchange_declare(name, exchange_type="direct", durable=True)
            declared = await channel.queue_declare(name, durable=True)
        check("declared again the same way", declared.queue, name)
        await channel.queue_bind(name, name, "key")
        for body in (b"1", b"2"):
            await channel.basic_publish(body, exchange=name, routing_key="key")
        told = await channel.queue_declare(name, passive=True)
        check("passive declaration tells messages and consumers", (told.message_count, told.consumer_count), (2, 0))

        closing = await connection.channel()
        missing = await refusal(closing.queue_declare("interop.missing", passive=True))
        check("passive queue that is not there", missing, NOT_FOUND)
        state = (closing.is_closed, channel.is_closed, connection.is_closed)
        check("404 closes the channel only", state, (True, False, False))
        missing = await refused(lambda other: other.exchange_declare("interop.missing", passive=True))
        check("passive exchange that is not there", missing, NOT_FOUND)
        unlike = ("ChannelPreconditionFailed", "PRECONDITION_FAILED")
        check("other durability", await refused(lambda other: other.queue_declare(name)), unlike)
        arguments: FieldTable = {"x-max-length": 5}
        other_argument = await refused(lambda other: other.queue_declare(name, durable=True, arguments=arguments))
        check("other argument", other_argument, unlike)
        async with aiormq.connect(AMQP.url) as second:
            unknown = await refusal((await second.channel()).exchange_declare("interop.unknown", exchange_type="odd"))
            check("unknown exchange type", unknown, ("ConnectionCommandInvalid", "COMMAND_INVALID"))
            await arrival("503 closes the connection", lambda: second.is_closed)

        await channel.queue_unbind(name, name, "key")
        await channel.basic_publish(b"nobody", exchange=name, routing_key="key")
        check("purge tells the number", (await channel.queue_purge(name)).message_count, 2)
        await publish(channel, name, b"3")
        check("delete tells the number", (await channel.queue_delete(name)).message_count, 1)
        check("deleted twice is fine", (await channel.queue_delete(name)).message_count, 0)


@scenario("confirms")
async def confirms() -> None:
    name = "interop.confirms"
    bodies = [str(number).encode() for number in range(1000)]
    async with session([name]) as (_, channel):
        await channel.queue_declare(name, durable=True)

        async def send(body: bytes) -> object:
            persistent = Basic.Properties(delivery_mode=2)
            return await channel.basic_publish(body, routing_key=name, properties=persistent)

        answers = await asyncio.gather(*(send(body) for body in bodies))
        check("each confirmed", [type(answer) for answer in answers].count(Basic.Ack), len(bodies))
        inbox = Letters()
        await channel.basic_consume(name, inbox, no_ack=True)
        await inbox.holds("all in the queue", len(bodies))
        check("in order", inbox.bodies == bodies)
        check("persistent", {message.header.properties.delivery_mode for message in inbox}, {2})


@scenario("mandatory-return")
async def mandatory_return() -> None:
    name = "interop.returns"
    sent: dict[str, Any] = {
        "content_type": "text/plain",
        "correlation_id": "7",
        "headers": {"a": 1},
        "message_id": "unwanted",
    }
    async with session([name], [name]) as (_, channel):
        await channel.exchange_declare(name)

        async def send(key: str, exchange: str = "") -> object:
            properties = Basic.Properties(**sent)
            return await channel.basic_publish(
                b"body", exchange=exchange, routing_key=key, properties=properties, mandatory=True
            )

        # aiormq raises for the return only if it comes before the confirm.
        try:
            await send("interop.nobody", name)
        except PublishError as error:
            check_returned(error, name, b"body", sent)
        else:
            check("returned before the confirm", False)
        await channel.queue_declare(name)
        check("a message that somebody gets is confirmed", type(await send(name)), Basic.Ack)


@scenario("consume")
async def consume() -> None:
    name = "interop.consume"
    async with session([name]) as (connection, channel):
        await channel.queue_declare(name)
        await publish(channel, name, *(str(number).encode() for number in range(10)))
        consuming, inbox = await connection.channel(), Letters()
        await consuming.basic_qos(prefetch_count=3)
        consumer = await consuming.basic_consume(name, inbox)
        await inbox.holds("3 are delivered", 3)
        check("no 4th is", (await ready(channel, name), inbox.bodies), (7, [b"0", b"1", b"2"]))
        await consuming.basic_ack(tag(inbox[2]), multiple=True)
        await inbox.holds("ack of multiple lets 3 more in", 6)
        check("the next three", inbox.bodies[3:], [b"3", b"4", b"5"])
        await consuming.basic_nack(tag(inbox[3]), requeue=True)
        await inbox.holds("a requeued message comes again", 7)
        check("it is redelivered", (inbox[6].body, inbox[6].redelivered, inbox[3].redelivered), (b"3", True, False))
        await consuming.basic_reject(tag(inbox[4]), requeue=False)
        await inbox.holds("a rejected one makes room", 8)
        check("in its place comes the next", inbox[7].body, b"6")
        assert consumer.consumer_tag is not None
        await consuming.basic_cancel(consumer.consumer_tag)
        await consuming.basic_ack(tag(inbox[5]))
        check("none is delivered once cancelled", (await ready(channel, name), len(inbox)), (3, 8))
        await consuming.close()
        left = await drain(channel, name)
        bodies = [message.body for message in left]
        check("what was not acknowledged is there again", bodies, [b"3", b"6", b"7", b"8", b"9"])
        check("only it is redelivered", [m.redelivered for m in left], [True, True, False, False, False])


@scenario("get")
async def get() -> None:
    name = "interop.get"
    async with session([name], [name]) as (_, channel):
        await channel.exchange_declare(name)
        await channel.queue_declare(name)
        await channel.queue_bind(name, name, "key")
        for body in (b"1", b"2"):
            await channel.basic_publish(body, exchange=name, routing_key="key")
        first = await channel.basic_get(name)
        check("exchange and routing key", (first.exchange, first.routing_key), (name, "key"))
        check("body, redelivered, left", (first.body, first.redelivered, first.message_count), (b"1", False, 1))
        await channel.basic_reject(tag(first), requeue=True)
        again = await channel.basic_get(name)
        check("requeued and redelivered", (again.body, again.redelivered), (b"1", True))
        await channel.basic_ack(tag(again))
        second = await channel.basic_get(name, no_ack=True)
        check("the next one is the last", (second.body, second.message_count), (b"2", 0))
        check("empty queue says so", type((await channel.basic_get(name)).delivery), Basic.GetEmpty)


@scenario("exclusive")
async def exclusive() -> None:
    async with aiormq.connect(AMQP.url) as connection:
        queue = (await (await connection.channel()).queue_declare(exclusive=True)).queue
        assert queue is not None
        check("server names the queue", queue.startswith("amq.gen-"))
        locked = await refused(lambda other: other.queue_declare(queue, passive=True))
        check("another connection is refused", locked, ("ChannelLockedResource", "RESOURCE_LOCKED"))
    check("gone with its connection", await exists(queue), False)

    name = "interop.exclusive"
    async with session([name]) as (_, channel):
        await channel.queue_declare(name)
        await channel.basic_consume(name, Letters(), exclusive=True)
        second = await refused(lambda other: other.basic_consume(name, Letters()))
        check("second consumer is refused", second, ("ChannelAccessRefused", "ACCESS_REFUSED"))


@scenario("auto-delete")
async def auto_delete() -> None:
    name, bound = "interop.auto-delete", "interop.auto-delete.bound"
    async with session([name, bound], [name]) as (_, channel):
        await channel.queue_declare(name, auto_delete=True)
        for consumer in ("first", "second"):
            await channel.basic_consume(name, Letters(), consumer_tag=consumer)
        await channel.basic_cancel("first")
        check("queue stays while one consumes", await exists(name))
        await channel.basic_cancel("second")
        check("queue goes with its last consumer", await exists(name), False)
        await channel.exchange_declare(name, auto_delete=True)
        await channel.queue_declare(bound)
        for key in ("a", "b"):
            await channel.queue_bind(bound, name, key)
        await channel.queue_unbind(bound, name, "a")
        there = await refused(lambda other: other.exchange_declare(name, passive=True))
        check("exchange stays while one is bound", there, NOT_REFUSED)
        await channel.queue_unbind(bound, name, "b")
        gone = await refused(lambda other: other.exchange_declare(name, passive=True))
        check("exchange goes with its last binding", gone, NOT_FOUND)


@scenario("exchange-bindings")
async def exchange_bindings() -> None:
    name, topic, fanout = "interop.e2e", "interop.e2e.topic", "interop.e2e.fanout"
    async with session([name], [topic, fanout]) as (_, channel):
        await channel.exchange_declare(topic, exchange_type="topic")
        await channel.exchange_declare(fanout, exchange_type="fanout")
        await channel.queue_declare(name)
        await channel.exchange_bind(destination=fanout, source=topic, routing_key="news.#")
        await channel.queue_bind(name, fanout)
        for body, key in ((b"through", "news.today"), (b"not", "weather")):
            await channel.basic_publish(body, exchange=topic, routing_key=key)
        (message,) = await drain(channel, name)
        seen = (message.body, message.exchange, message.routing_key)
        check("through both", seen, (b"through", topic, "news.today"))
        await channel.exchange_unbind(destination=fanout, source=topic, routing_key="news.#")
        await channel.basic_publish(b"late", exchange=topic, routing_key="news.today")
        check("not after unbind", await drain(channel, name), [])


@scenario("headers")
async def headers() -> None:
    name = "interop.headers"
    bound_to = {match: f"{name}.{match}" for match in ("all", "any")}
    async with session([name, *bound_to.values()], [name]) as (_, channel):
        await channel.queue_declare(name)
        sent = {**PROPERTIES, "expiration": "60000", "delivery_mode": 2, "message_type": "type", "app_id": "app"}
        await publish(channel, name, b"x", headers=TABLE, **sent)
        (got,) = await drain(channel, name)
        properties: Any = got.header.properties
        check_table(properties.headers)
        for key, value in sent.items():
            check(f"property {key}", getattr(properties, key), value)

        await channel.exchange_declare(name, exchange_type="headers")
        for match, queue in bound_to.items():
            await channel.queue_declare(queue)
            await channel.queue_bind(queue, name, arguments={"x-match": match, **BOUND_TO})
        for body, fields in MATCHING.items():
            await channel.basic_publish(body, exchange=name, properties=Basic.Properties(headers=fields))
        for match, expected in MATCHED.items():
            routed = await drain(channel, bound_to[match])
            check(f"x-match {match}", [message.body for message in routed], expected)


@scenario("dead-letter")
async def dead_letter() -> None:
    name, dead = "interop.dl.work", "interop.dl.dead"
    arguments = {**dead_letters_to("dead", exchange=dead), "x-max-length": 1}
    async with session([name, dead], [dead]) as (_, channel):
        await channel.exchange_declare(dead)
        await channel.queue_declare(dead)
        await channel.queue_bind(dead, dead, "dead")
        inbox = Letters()
        await channel.basic_consume(dead, inbox, no_ack=True)
        await channel.queue_declare(name, arguments=arguments)
        await publish(channel, name, b"rejected")
        await channel.basic_reject(tag(await channel.basic_get(name)), requeue=False)
        await inbox.holds("rejected", 1)
        await publish(channel, name, b"expired", expiration="50")
        await inbox.holds("expired", 2)
        await publish(channel, name, b"maxlen", b"the limit is 1")
        await inbox.holds("length-limited", 3)
        letters = [((m.body, m.exchange, m.routing_key), m.header.properties.headers) for m in inbox]
        check_letters(letters, name, dead)
    await dead_lettered_twice()


async def dead_lettered_twice() -> None:
    """Rejected messages wait a moment and come back; the second death of a kind is counted with the first."""
    name, waiting = "interop.dl.again", "interop.dl.waiting"
    async with session([name, waiting]) as (_, channel):
        await channel.queue_declare(name, arguments=dead_letters_to(waiting))
        await channel.queue_declare(waiting, arguments={**dead_letters_to(name), "x-message-ttl": 50})
        inbox = Letters()
        await channel.basic_consume(name, inbox)
        await publish(channel, name, b"again")
        for delivery in (1, 2):
            await inbox.holds(f"delivery {delivery}", delivery)
            await channel.basic_reject(tag(inbox[-1]), requeue=False)
        await inbox.holds("delivery 3", 3)
        check_second_deaths(inbox[-1].header.properties.headers, name, waiting)


@scenario("ttl")
async def ttl() -> None:
    short, long, gone, unused = (f"interop.ttl.{name}" for name in ("short", "long", "gone", "unused"))
    async with session([short, long, gone]) as (_, channel):
        await channel.queue_declare(gone)
        inbox = Letters()
        await channel.basic_consume(gone, inbox, no_ack=True)
        await channel.queue_declare(short, arguments={"x-message-ttl": 50, **dead_letters_to(gone)})
        await channel.queue_declare(long, arguments={"x-message-ttl": 60000, **dead_letters_to(gone)})
        await publish(channel, short, b"the queue's", expiration="60000")
        await arrival("x-message-ttl is smaller", lambda: inbox.bodies == [b"the queue's"])
        await publish(channel, long, b"its own", expiration="50")
        await publish(channel, long, b"stays")
        await arrival("expiration is smaller", lambda: inbox.bodies == [b"the queue's", b"its own"])
        check("what has time stays", await ready(channel, long), 1)

        async def is_gone() -> bool:
            return not await exists(unused)

        await check_expiry(lambda given: channel.queue_declare(unused, arguments=given), is_gone)


@scenario("priority")
async def priority() -> None:
    name = "interop.priority"
    async with session([name]) as (_, channel):
        await channel.queue_declare(name, arguments={"x-max-priority": 10})
        await publish(channel, name, b"none")
        for body, level in ((b"1", 1), (b"5", 5), (b"3", 3), (b"0", 0), (b"9", 9), (b"5 again", 5)):
            await publish(channel, name, body, priority=level)
        inbox = Letters()
        await channel.basic_consume(name, inbox, no_ack=True)
        await inbox.holds("all are received", 7)
        expected = [b"9", b"5", b"5 again", b"3", b"1", b"none", b"0"]
        check("by priority, then in order; none is 0", inbox.bodies, expected)


@scenario("direct-reply-to")
async def direct_reply_to() -> None:
    name = "interop.rpc"
    async with session([name]) as (connection, channel):
        serving = await connection.channel()

        async def serve(request: DeliveredMessage) -> None:
            asked = request.header.properties
            assert asked.reply_to is not None
            await publish(serving, asked.reply_to, request.body.upper(), correlation_id=asked.correlation_id)
            await serving.basic_ack(tag(request))

        await serving.queue_declare(name)
        await serving.basic_consume(name, serve)
        answers = Letters()
        await channel.basic_consume(REPLY_TO, answers, no_ack=True)
        calls = {f"call-{number}": f"body {number}".encode() for number in range(100)}
        for call_id, body in calls.items():
            await publish(channel, name, body, reply_to=REPLY_TO, correlation_id=call_id)
        await answers.holds("100 answers", len(calls))
        answered = {message.header.properties.correlation_id: message.body for message in answers}
        check("each its own answer", answered == {call_id: body.upper() for call_id, body in calls.items()})


@scenario("large-message")
async def large_message() -> None:
    name = "interop.large"
    async with session([name]) as (connection, channel):
        await channel.queue_declare(name)
        for body in large_bodies(connection.connection_tune.frame_max):
            await publish(channel, name, body)
            got = await channel.basic_get(name, no_ack=True)
            check(f"{len(body)} bytes", (type(got.delivery), got.body == body), (Basic.GetOk, True))


@scenario("cancel-notify")
async def cancel_notify() -> None:
    name, other = "interop.cancel", "interop.cancel.other"
    async with session([name, other]) as (connection, channel):
        await channel.queue_declare(name)
        cancelled: list[str | None] = []
        channel.on_consumer_cancel_callbacks.add(lambda frame: cancelled.append(frame.consumer_tag))
        await channel.basic_consume(name, Letters(), consumer_tag="mine")
        await (await connection.channel()).queue_delete(name)
        await arrival("consumer is told", lambda: cancelled == ["mine"])
        await channel.queue_declare(other)
        inbox = Letters()
        await channel.basic_consume(other, inbox, consumer_tag="mine", no_ack=True)
        await publish(channel, other, b"after")
        await arrival("channel works on", lambda: inbox.bodies == [b"after"])


@scenario("blocked")
async def blocked() -> None:
    name = "interop.blocked"
    async with session([name]) as (_, channel):
        await channel.queue_declare(name)
        published = await publish_during_alarm(lambda body: publish(channel, name, body))
        inbox = Letters()
        await channel.basic_consume(name, inbox, no_ack=True)
        await inbox.holds("what was published arrives", len(published))
        check("in order", inbox.bodies, published)


class Reconnecting:
    """A consumer that connects again when its connection has ended: aiormq leaves that to its users."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.inbox = Letters()
        self.consuming = 0  # how many times it has begun to
        self.channel: AbstractChannel

    async def run(self) -> None:
        while True:
            try:
                async with aiormq.connect(AMQP.url) as connection:
                    self.channel = await connection.channel()
                    await self.channel.basic_consume(self.queue, self.inbox)
                    self.consuming += 1
                    await asyncio.wait([connection.closing])
            except AMQPConnectionError:
                await asyncio.sleep(RECONNECT_SECONDS)


@scenario("recovery")
async def recovery() -> None:
    name, kept = "interop.recovery", "interop.recovery.kept"
    async with session([name, kept], [name]) as (_, channel):
        await channel.exchange_declare(name, durable=True)
        for queue, key in ((name, "consumed"), (kept, "kept")):
            await channel.queue_declare(queue, durable=True)
            await channel.queue_bind(queue, name, key)
        for body, mode in ((b"persistent", 2), (b"transient", 1)):
            properties = Basic.Properties(delivery_mode=mode)
            await channel.basic_publish(body, exchange=name, routing_key="kept", properties=properties)
        await publish(channel, name, b"before", delivery_mode=2)
        consumer = Reconnecting(name)
        running = asyncio.create_task(consumer.run())
        await arrival("consumes before", lambda: consumer.inbox.bodies == [b"before"])
        await asyncio.to_thread(control, "restart")
        await arrival("connects again", lambda: consumer.consuming == 2)
        await consumer.inbox.holds("unacknowledged message comes again", 2)
        again = consumer.inbox[-1]
        check("it is redelivered", (again.body, again.redelivered), (b"before", True))
        await consumer.channel.basic_ack(tag(again))
        for body, key in ((b"after", "consumed"), (b"new", "kept")):
            await consumer.channel.basic_publish(body, exchange=name, routing_key=key)
        await arrival("publishes and consumes on", lambda: consumer.inbox.bodies[2:] == [b"after"])
        bodies = [message.body for message in await drain(consumer.channel, kept)]
        check("durable ones are there, transient is not", bodies, [b"persistent", b"new"])
        running.cancel()


if __name__ == "__main__":
    run()
