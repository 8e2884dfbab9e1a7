"""aio-pika: connections that restore themselves (``connect_robust``), with all that was declared on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue, AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import PublishError, QueueEmpty
from aio_pika.patterns import RPC

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
    eventually,
    large_bodies,
    publish_during_alarm,
    refusal,
    scratch,
)
from interop.families.python.checks import AMQP, PATIENCE, arrival, check, control, run, scenario

Letters = Inbox[AbstractIncomingMessage]

RECONNECT_SECONDS = 0.2  # aio-pika's own default is 5


async def connect(address: str = AMQP.url) -> AbstractRobustConnection:
    return await aio_pika.connect_robust(address, timeout=PATIENCE, reconnect_interval=RECONNECT_SECONDS)


@asynccontextmanager
async def session(
    queues: Sequence[str] = (), exchanges: Sequence[str] = ()
) -> AsyncIterator[tuple[AbstractRobustConnection, AbstractRobustChannel]]:
    """A connection and a channel of the scenario's own; what it declares under these names is deleted again."""
    async with scratch(queues, exchanges), await connect() as connection, connection.channel() as channel:
        yield connection, channel


async def refused(action: Callable[[AbstractRobustChannel], Awaitable[object]]) -> tuple[str, str]:
    """What becomes of an action on a connection of its own."""
    async with await connect() as connection:
        return await refusal(action(await connection.channel()))


async def exists(queue: str) -> bool:
    return await refused(lambda channel: channel.declare_queue(queue, passive=True)) == NOT_REFUSED


async def publish(channel: AbstractRobustChannel, queue: str, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        await channel.default_exchange.publish(Message(body, **properties), queue)


async def ready(channel: AbstractRobustChannel, queue: str) -> int | None:
    """How many messages lie there; asks the broker, where a passive ``declare_queue`` may know the queue already."""
    underlay = await channel.get_underlay_channel()
    return (await underlay.queue_declare(queue, passive=True)).message_count


async def drain(queue: AbstractQueue) -> list[AbstractIncomingMessage]:
    messages = []
    while message := await queue.get(no_ack=True, fail=False):
        messages.append(message)
    return messages


@scenario("connect")
async def connecting() -> None:
    connection = await connect()
    assert connection.transport is not None
    check_capabilities(connection.transport.connection.server_properties)
    channel = await connection.channel()
    check("channel is open", channel.is_closed, False)
    await channel.close()
    await connection.close()
    check("channel is closed", channel.is_closed)
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
async def auth_failure() -> None:
    await check_refused_logins(connect)


@scenario("declare")
async def declare() -> None:
    name = "interop.declare"
    async with session([name], [name]) as (connection, channel):
        exchange = await channel.declare_exchange(name, ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue(name, durable=True)
        await channel.declare_exchange(name, ExchangeType.DIRECT, durable=True)
        again = await channel.declare_queue(name, durable=True)
        check("declared again the same way", again.name, name)
        await queue.bind(exchange, "key")
        for body in (b"1", b"2"):
            await exchange.publish(Message(body), "key")
        async with connection.channel() as other:
            told = (await other.declare_queue(name, passive=True)).declaration_result
        check("passive declaration tells messages", told.message_count, 2)
        check("passive declaration tells consumers", told.consumer_count, 0)

        missing = await refused(lambda other: other.declare_queue("interop.missing", passive=True))
        check("passive queue that is not there", missing, NOT_FOUND)
        missing = await refused(lambda other: other.declare_exchange("interop.missing", passive=True))
        check("passive exchange that is not there", missing, NOT_FOUND)
        unlike = ("ChannelPreconditionFailed", "PRECONDITION_FAILED")
        check("other durability", await refused(lambda other: other.declare_queue(name)), unlike)
        other_argument = await refused(
            lambda other: other.declare_queue(name, durable=True, arguments={"x-max-length": 5})
        )
        check("other argument", other_argument, unlike)
        unknown = await refused(lambda other: other.declare_exchange("interop.unknown", "interop-no-type"))
        check("unknown exchange type", unknown, ("ConnectionCommandInvalid", "COMMAND_INVALID"))
        await channel_closes_alone()

        await queue.unbind(exchange, "key")
        await exchange.publish(Message(b"nobody"), "key", mandatory=False)
        check("purge tells the number", (await queue.purge()).message_count, 2)
        await publish(channel, name, b"3")
        check("delete tells the number", (await channel.queue_delete(name)).message_count, 1)
        check("deleted twice is fine", (await channel.queue_delete(name)).message_count, 0)


async def channel_closes_alone() -> None:
    """A channel that the broker closes leaves the connection and its other channels alone."""
    connection = await aio_pika.connect(AMQP.url)
    async with connection:
        closing, staying = await connection.channel(), await connection.channel()
        await refusal(closing.declare_queue("interop.missing", passive=True))
        check("404 closes the channel", closing.is_closed)
        check("404 leaves the connection", (connection.is_closed, staying.is_closed), (False, False))
        temporary = await staying.declare_queue(exclusive=True)
        check("another channel works on", temporary.declaration_result.message_count, 0)


@scenario("confirms")
async def confirms() -> None:
    name = "interop.confirms"
    bodies = [str(number).encode() for number in range(1000)]
    async with session([name]) as (_, channel):
        queue = await channel.declare_queue(name, durable=True)
        exchange = channel.default_exchange
        persistent = [Message(body, delivery_mode=DeliveryMode.PERSISTENT) for body in bodies]
        answers = await asyncio.gather(*(exchange.publish(message, name) for message in persistent))
        confirmed = [type(answer).__name__ for answer in answers].count("Ack")
        check("each confirmed", confirmed, len(bodies))
        inbox = Letters()
        await queue.consume(inbox, no_ack=True)
        await inbox.holds("all in the queue", len(bodies))
        check("in order", inbox.bodies == bodies)
        check("persistent", {message.delivery_mode for message in inbox}, {DeliveryMode.PERSISTENT})


@scenario("mandatory-return")
async def mandatory_return() -> None:
    message = Message(
        b"nobody wants this", content_type="text/plain", correlation_id="7", headers={"a": 1}, message_id="unwanted"
    )
    async with session(exchanges=["interop.returns"]) as (connection, channel):
        exchange = await channel.declare_exchange("interop.returns", ExchangeType.DIRECT)
        returned = Letters()
        channel.return_callbacks.add(lambda _channel, message: returned.append(message))
        # publish() gives what decided it: the message that came back, or the confirm if that was first.
        answer = await exchange.publish(message, "interop.nobody", mandatory=True)
        check("returned before the confirm", type(answer).__name__, "DeliveredMessage")
        await arrival("return callback is called", lambda: len(returned) == 1)
        back = returned[0]
        check("body", back.body, message.body)
        check("exchange and routing key", (back.exchange, back.routing_key), ("interop.returns", "interop.nobody"))
        for name in ("content_type", "correlation_id", "headers", "message_id"):
            check(f"property {name}", getattr(back, name), getattr(message, name))
        await channel.declare_queue("interop.wanted", exclusive=True)
        answer = await channel.default_exchange.publish(message, "interop.wanted", mandatory=True)
        check("a message that somebody gets is confirmed", type(answer).__name__, "Ack")
        raising = await connection.channel(on_return_raises=True)
        try:
            await raising.default_exchange.publish(message, "interop.nobody")
        except PublishError as error:
            check_returned(error, "", message.body, {"headers": {"a": 1}, "correlation_id": "7"})
        else:
            check("on_return_raises raises", False)


@scenario("consume")
async def consume() -> None:
    name = "interop.consume"
    async with session([name]) as (connection, channel):
        queue = await channel.declare_queue(name)
        await publish(channel, name, *(str(number).encode() for number in range(10)))
        consuming = await connection.channel()
        await consuming.set_qos(prefetch_count=3)
        source, inbox = await consuming.get_queue(name), Letters()
        tag = await source.consume(inbox)
        await inbox.holds("3 are delivered", 3)
        check("no 4th is", (await ready(channel, name), inbox.bodies), (7, [b"0", b"1", b"2"]))
        await inbox[2].ack(multiple=True)
        await inbox.holds("ack of multiple lets 3 more in", 6)
        check("the next three", inbox.bodies[3:], [b"3", b"4", b"5"])
        await inbox[3].nack(requeue=True)
        await inbox.holds("a requeued message comes again", 7)
        check("it is redelivered", (inbox[6].body, inbox[6].redelivered, inbox[3].redelivered), (b"3", True, False))
        await inbox[4].reject(requeue=False)
        await inbox.holds("a rejected one makes room", 8)
        check("in its place comes the next", inbox[7].body, b"6")
        await source.cancel(tag)
        await inbox[5].ack()
        check("none is delivered once cancelled", (await ready(channel, name), len(inbox)), (3, 8))
        await consuming.close()
        left = await drain(queue)
        check(
            "what was not acknowledged is there again once the channel is closed",
            [m.body for m in left],
            [b"3", b"6", b"7", b"8", b"9"],
        )
        check("only it is redelivered", [m.redelivered for m in left], [True, True, False, False, False])


@scenario("get")
async def get() -> None:
    name = "interop.get"
    async with session([name], [name]) as (_, channel):
        exchange = await channel.declare_exchange(name, ExchangeType.DIRECT)
        queue = await channel.declare_queue(name)
        await queue.bind(exchange, "key")
        for body in (b"1", b"2"):
            await exchange.publish(Message(body), "key")
        first = await queue.get()
        check("exchange and routing key", (first.exchange, first.routing_key), (name, "key"))
        check("body, redelivered, left", (first.body, first.redelivered, first.message_count), (b"1", False, 1))
        await first.reject(requeue=True)
        again = await queue.get()
        check("requeued and redelivered", (again.body, again.redelivered), (b"1", True))
        await again.ack()
        second = await queue.get(no_ack=True)
        check("the next one is the last", (second.body, second.message_count), (b"2", 0))
        check("empty queue gives None", await queue.get(fail=False), None)
        try:
            await queue.get()
        except QueueEmpty as error:
            check("empty queue raises", type(error), QueueEmpty)
        else:
            check("empty queue raises", False)


@scenario("exclusive")
async def exclusive() -> None:
    # A robust channel names its queues itself, to declare them again; the plain connection lets the broker do it.
    connection = await aio_pika.connect(AMQP.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        check("server names the queue", queue.name.startswith("amq.gen-"))
        locked = await refused(lambda other: other.declare_queue(queue.name, passive=True))
        check("another connection is refused", locked, ("ChannelLockedResource", "RESOURCE_LOCKED"))
    check("gone with its connection", await exists(queue.name), False)

    name = "interop.exclusive"
    async with session([name]) as (_, robust):
        shared = await robust.declare_queue(name)
        await shared.consume(Letters(), exclusive=True)

        async def second_consumer(other: AbstractRobustChannel) -> None:
            await (await other.get_queue(name)).consume(Letters())

        second = await refused(second_consumer)
        check("second consumer is refused", second, ("ChannelAccessRefused", "ACCESS_REFUSED"))


@scenario("auto-delete")
async def auto_delete() -> None:
    name = "interop.auto-delete"
    async with session([name, name + ".bound"], [name]) as (_, channel):
        queue = await channel.declare_queue(name, auto_delete=True)
        tags = [await queue.consume(Letters()) for _ in range(2)]
        await queue.cancel(tags[0])
        check("queue stays while one consumes", await exists(name))
        await queue.cancel(tags[1])
        check("queue goes with its last consumer", await exists(name), False)
        exchange = await channel.declare_exchange(name, ExchangeType.DIRECT, auto_delete=True)
        bound = await channel.declare_queue(name + ".bound")
        await bound.bind(exchange, "a")
        await bound.bind(exchange, "b")
        await bound.unbind(exchange, "a")
        there = await refused(lambda other: other.declare_exchange(name, passive=True))
        check("exchange stays while one is bound", there, NOT_REFUSED)
        await bound.unbind(exchange, "b")
        gone = await refused(lambda other: other.declare_exchange(name, passive=True))
        check("exchange goes with its last binding", gone, NOT_FOUND)


@scenario("exchange-bindings")
async def exchange_bindings() -> None:
    topic, fanout = "interop.e2e.topic", "interop.e2e.fanout"
    async with session(["interop.e2e"], [topic, fanout]) as (_, channel):
        source = await channel.declare_exchange(topic, ExchangeType.TOPIC)
        middle = await channel.declare_exchange(fanout, ExchangeType.FANOUT)
        queue = await channel.declare_queue("interop.e2e")
        await middle.bind(source, "news.#")
        await queue.bind(middle)
        await source.publish(Message(b"through"), "news.today")
        await source.publish(Message(b"not"), "weather", mandatory=False)
        message = await queue.get(no_ack=True)
        seen = (message.body, message.exchange, message.routing_key, message.message_count)
        check("through both", seen, (b"through", topic, "news.today", 0))
        await middle.unbind(source, "news.#")
        await source.publish(Message(b"late"), "news.today", mandatory=False)
        check("not after unbind", await queue.get(fail=False), None)


@scenario("headers")
async def headers() -> None:
    name = "interop.headers"
    bound_to = {match: f"{name}.{match}" for match in ("all", "any")}
    async with session([name, *bound_to.values()], [name]) as (_, channel):
        queue = await channel.declare_queue(name)
        mode = DeliveryMode.PERSISTENT
        sent = {**PROPERTIES, "expiration": 60.0, "delivery_mode": mode, "type": "type", "app_id": "app"}
        await publish(channel, name, b"x", headers=TABLE, **sent)
        got = await queue.get(no_ack=True)
        check_table(got.headers)
        for key, value in sent.items():
            check(f"property {key}", getattr(got, key), value)

        exchange = await channel.declare_exchange(name, ExchangeType.HEADERS)
        for match, queue_name in bound_to.items():
            bound = await channel.declare_queue(queue_name)
            await bound.bind(exchange, arguments={"x-match": match, **BOUND_TO})
        for body, fields in MATCHING.items():
            await exchange.publish(Message(body, headers=fields), "", mandatory=False)
        for match, expected in MATCHED.items():
            routed = await drain(await channel.get_queue(bound_to[match]))
            check(f"x-match {match}", [message.body for message in routed], expected)


@scenario("dead-letter")
async def dead_letter() -> None:
    name, dead = "interop.dl.work", "interop.dl.dead"
    arguments = {**dead_letters_to("dead", exchange=dead), "x-max-length": 1}
    async with session([name, dead], [dead]) as (_, channel):
        exchange = await channel.declare_exchange(dead, ExchangeType.DIRECT)
        letters, inbox = await channel.declare_queue(dead), Letters()
        await letters.bind(exchange, "dead")
        await letters.consume(inbox, no_ack=True)
        work = await channel.declare_queue(name, arguments=arguments)
        await publish(channel, name, b"rejected")
        await (await work.get()).reject()
        await inbox.holds("rejected", 1)
        await publish(channel, name, b"expired", expiration=0.05)
        await inbox.holds("expired", 2)
        await publish(channel, name, b"maxlen", b"the limit is 1")
        await inbox.holds("length-limited", 3)
        check_letters([((m.body, m.exchange, m.routing_key), m.headers) for m in inbox], name, dead)
    await dead_lettered_twice()


async def dead_lettered_twice() -> None:
    """Rejected messages wait a moment and come back; the second death of a kind is counted with the first."""
    name, waiting = "interop.dl.again", "interop.dl.waiting"
    async with session([name, waiting]) as (_, channel):
        work, inbox = await channel.declare_queue(name, arguments=dead_letters_to(waiting)), Letters()
        await channel.declare_queue(waiting, arguments={**dead_letters_to(name), "x-message-ttl": 50})
        await work.consume(inbox)
        await publish(channel, name, b"again")
        for round_trip in range(2):
            await inbox.holds(f"delivered, round {round_trip + 1}", round_trip + 1)
            await inbox[-1].reject()
        await inbox.holds("delivered a third time", 3)
        check_second_deaths(inbox[-1].headers, name, waiting)


@scenario("ttl")
async def ttl() -> None:
    short, long, gone, unused = (f"interop.ttl.{name}" for name in ("short", "long", "gone", "unused"))
    async with session([short, long, gone]) as (_, channel):
        inbox = Letters()
        await (await channel.declare_queue(gone)).consume(inbox, no_ack=True)
        await channel.declare_queue(short, arguments={"x-message-ttl": 50, **dead_letters_to(gone)})
        await channel.declare_queue(long, arguments={"x-message-ttl": 60000, **dead_letters_to(gone)})
        await publish(channel, short, b"the queue's", expiration=60)
        await arrival("x-message-ttl is smaller", lambda: inbox.bodies == [b"the queue's"])
        await publish(channel, long, b"its own", expiration=0.05)
        await publish(channel, long, b"stays")
        await arrival("expiration is smaller", lambda: inbox.bodies == [b"the queue's", b"its own"])
        check("what has time stays", await ready(channel, long), 1)

        async def is_gone() -> bool:
            return not await exists(unused)

        await check_expiry(lambda given: channel.declare_queue(unused, arguments=given, robust=False), is_gone)


@scenario("priority")
async def priority() -> None:
    name = "interop.priority"
    async with session([name]) as (_, channel):
        queue = await channel.declare_queue(name, arguments={"x-max-priority": 10})
        for body, level in ((b"1", 1), (b"5", 5), (b"3", 3), (b"0", 0), (b"9", 9), (b"5 again", 5)):
            await publish(channel, name, body, priority=level)
        # A Message without a priority is sent with priority 0.
        await publish(channel, name, b"none")
        inbox = Letters()
        await queue.consume(inbox, no_ack=True)
        await inbox.holds("all are received", 7)
        check("by priority, then in order", inbox.bodies, [b"9", b"5", b"5 again", b"3", b"1", b"0", b"none"])


@scenario("direct-reply-to")
async def direct_reply_to() -> None:
    name = "interop.rpc"
    async with session([name]) as (connection, channel):
        serving = await connection.channel()

        async def serve(request: AbstractIncomingMessage) -> None:
            async with request.process():
                assert request.reply_to is not None
                answer = Message(request.body.upper(), correlation_id=request.correlation_id)
                await serving.default_exchange.publish(answer, request.reply_to)

        await (await serving.declare_queue(name)).consume(serve)
        inbox = Letters()
        replies = await channel.get_queue(REPLY_TO, ensure=False)
        await replies.consume(inbox, no_ack=True)
        calls = {f"call-{number}": f"body {number}".encode() for number in range(100)}
        for call_id, body in calls.items():
            await publish(channel, name, body, reply_to=REPLY_TO, correlation_id=call_id)
        await inbox.holds("100 answers", len(calls))
        answers = {str(message.correlation_id): message.body for message in inbox}
        check("each its own answer", answers == {call_id: body.upper() for call_id, body in calls.items()})

        async def double(*, number: int) -> int:
            return 2 * number

        rpc = await RPC.create(serving)
        await rpc.register("interop.rpc.double", double, auto_delete=True)
        results = await asyncio.gather(*(rpc.proxy.interop.rpc.double(number=number) for number in range(10)))
        check("aio-pika's own RPC pattern", results, [2 * number for number in range(10)])
        await rpc.close()


@scenario("large-message")
async def large_message() -> None:
    name = "interop.large"
    async with session([name]) as (_, channel):
        queue = await channel.declare_queue(name)
        underlay = await channel.get_underlay_channel()
        frame_max = underlay.connection.connection_tune.frame_max
        for body in large_bodies(frame_max):
            await publish(channel, name, body)
            got = await queue.get(no_ack=True, timeout=PATIENCE)
            check(f"{len(body)} bytes", (len(got.body), got.body == body), (len(body), True))


@scenario("cancel-notify")
async def cancel_notify() -> None:
    name = "interop.cancel"
    async with session([name]) as (connection, channel):
        queue, inbox, cancelled = await channel.declare_queue(name), Letters(), list[str | None]()
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda frame: cancelled.append(frame.consumer_tag))
        tag = await queue.consume(inbox, no_ack=True)
        async with connection.channel() as other:
            await other.queue_delete(name)
        await arrival("consumer is told", lambda: cancelled == [tag])
        temporary = await channel.declare_queue("interop.cancel.other", exclusive=True)
        check("channel works on", temporary.declaration_result.message_count, 0)
        # A robust channel declares the queue again and consumes from it with the same tag.
        await eventually("queue is declared again", lambda: exists(name))
        await publish(channel, name, b"after")
        await arrival("consumer is restored", lambda: inbox.bodies == [b"after"])
        check("with its tag", inbox[0].consumer_tag, tag)


@scenario("blocked")
async def blocked() -> None:
    name = "interop.blocked"
    async with session([name]) as (_, channel):
        queue, inbox = await channel.declare_queue(name), Letters()
        published = await publish_during_alarm(lambda body: publish(channel, name, body))
        await queue.consume(inbox, no_ack=True)
        await inbox.holds("what was published arrives", len(published))
        check("in order", inbox.bodies, published)


@scenario("recovery")
async def recovery() -> None:
    name, kept = "interop.recovery", "interop.recovery.kept"
    async with session([name, kept], [name]) as (connection, channel):
        # These are not the robust channel's to restore: they must be there again by themselves.
        exchange = await channel.declare_exchange(name, ExchangeType.DIRECT, durable=True, robust=False)
        holding = await channel.declare_queue(kept, durable=True, robust=False)
        await holding.bind(exchange, "kept", robust=False)
        for body, mode in ((b"persistent", DeliveryMode.PERSISTENT), (b"transient", DeliveryMode.NOT_PERSISTENT)):
            await exchange.publish(Message(body, delivery_mode=mode), "kept")
        queue, inbox, restored = await channel.declare_queue(name, durable=True), Letters(), asyncio.Event()
        await queue.consume(inbox)
        await publish(channel, name, b"before", delivery_mode=DeliveryMode.PERSISTENT)
        await arrival("consumes before", lambda: inbox.bodies == [b"before"])
        connection.reconnect_callbacks.add(lambda _connection: restored.set())

        await asyncio.to_thread(control, "restart")
        await arrival("robust connection is restored", restored.is_set)
        await arrival("unacknowledged message comes again", lambda: inbox.bodies == [b"before", b"before"])
        check("it is redelivered", inbox[-1].redelivered)
        await inbox[-1].ack()
        await publish(channel, name, b"after")
        await arrival("publishes and consumes on", lambda: inbox.bodies[2:] == [b"after"])
        await inbox[-1].ack()
        await exchange.publish(Message(b"new"), "kept")
        bodies = [message.body for message in await drain(holding)]
        check("durable ones are there, transient is not", bodies, [b"persistent", b"new"])


if __name__ == "__main__":
    run()
