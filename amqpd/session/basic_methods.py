"""Methods of the basic class that are not hot (spec 1.8; interop/conformance/test_basic.py)."""

from __future__ import annotations

from amqpd.auth.permissions import READ
from amqpd.broker.queue import RECOVERED, Consumer, Queue
from amqpd.broker.vhost import REPLY_TO
from amqpd.queues.types import has_single_active
from amqpd.session.ack_timeout import ARGUMENT as CONSUMER_TIMEOUT
from amqpd.session.ack_timeout import expect_acknowledgement
from amqpd.session.channel import Channel
from amqpd.session.delivery_headers import counted
from amqpd.session.environment import Handler
from amqpd.session.exchange_methods import without_line_breaks
from amqpd.session.firehose import delivered
from amqpd.session.queue_methods import find_queue, last_queue
from amqpd.spec.arguments import INTEGER_TYPES, MILLISECONDS_MAX, QUORUM, REPLICATED_TYPES, TYPE_NAMES
from amqpd.spec.constants import (
    BASIC_CANCEL,
    BASIC_CANCEL_OK,
    BASIC_CONSUME,
    BASIC_CONSUME_OK,
    BASIC_GET,
    BASIC_GET_EMPTY,
    BASIC_GET_OK,
    BASIC_QOS,
    BASIC_QOS_OK,
    BASIC_RECOVER,
    BASIC_RECOVER_ASYNC,
    BASIC_RECOVER_OK,
)
from amqpd.spec.declaring import invalid_argument
from amqpd.spec.errors import (
    AccessRefused,
    NotAllowed,
    NotImplementedByBroker,
    PreconditionFailed,
    ResourceLocked,
)
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.table import Table


def basic_qos(channel: Channel, arguments: ArgumentReader) -> None:
    size = arguments.long()
    count = arguments.short()
    per_channel = bool(arguments.octet() & 1)
    arguments.end()
    if size:
        raise NotImplementedByBroker(f"prefetch_size!=0 ({size})")
    channel.prefetch.set(count, per_channel)
    channel.send(MethodWriter(BASIC_QOS_OK))
    channel.resume_consumers()


def basic_consume(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    tag = arguments.shortstr()
    bits = arguments.octet()
    table = arguments.table()
    arguments.end()
    no_ack, exclusive, no_wait = bool(bits & 2), bool(bits & 4), bool(bits & 8)
    if name == REPLY_TO:
        _consume_replies(channel, tag, no_ack, no_wait)
        return
    name = name or last_queue(channel)
    channel.check_permission(READ, "queue", name, BASIC_CONSUME)
    queue = find_queue(channel, name, BASIC_CONSUME)
    queue.check_consume(table, no_ack, int(channel.prefetch.per_consumer), int(channel.prefetch.per_channel))
    _check_integer(table, "x-priority", queue)
    _check_timeout(table, queue)
    tag = _new_tag(channel, tag)
    if queue.kind in REPLICATED_TYPES:
        exclusive = False  # without effect there, in RabbitMQ too
    holders = queue.consumers()
    taken = (holders and holders[0].exclusive) or (exclusive and (holders or has_single_active(queue)))
    if taken:
        raise AccessRefused(f"queue '{name}' in vhost '{queue.vhost}' in exclusive use")
    _start(channel, tag, queue, no_ack, exclusive, table, no_wait)


def _start(
    channel: Channel, tag: str, queue: Queue, no_ack: bool, exclusive: bool, table: Table, no_wait: bool
) -> None:
    """consume-ok goes out before the turn that delivers."""
    prefetch = 0 if no_ack else channel.prefetch.per_consumer
    consumer = Consumer(tag, channel, queue, no_ack, exclusive, prefetch, table)
    channel.consumers[tag] = consumer
    if not no_ack:
        expect_acknowledgement(channel, queue, consumer)
    if not no_wait:
        channel.send(MethodWriter(BASIC_CONSUME_OK).shortstr(tag))
    queue.consume(consumer)
    events = channel.broker.events
    if events.listening and queue is not channel.reply_queue:
        events.consumer_created(consumer)


def _new_tag(channel: Channel, tag: str) -> str:
    environment = channel.connection.environment
    limit = environment.consumer_max_per_channel
    if 0 <= limit <= len(channel.consumers):
        raise NotAllowed(f"reached maximum ({limit}) of consumers per channel")
    if not tag:
        return "amq.ctag-" + environment.token()
    if tag in channel.consumers:
        raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
    return tag


def _check_integer(table: Table, name: str, queue: Queue) -> None:
    field = table.get(name)
    if field is not None and field.kind not in INTEGER_TYPES:
        raise invalid_argument(name, queue.name, queue.vhost, f'"expected integer, got {TYPE_NAMES[field.kind]}"')


def _check_timeout(table: Table, queue: Queue) -> None:
    _check_integer(table, CONSUMER_TIMEOUT, queue)
    field = table.get(CONSUMER_TIMEOUT)
    if field is not None and isinstance(field.value, int):
        if field.value < 0:
            raise invalid_argument(CONSUMER_TIMEOUT, queue.name, queue.vhost, f"{{value_negative,{field.value}}}")
        if field.value > MILLISECONDS_MAX:
            raise invalid_argument(CONSUMER_TIMEOUT, queue.name, queue.vhost, f"{{value_too_large,{field.value}}}")


def _consume_replies(channel: Channel, tag: str, no_ack: bool, no_wait: bool) -> None:
    """Direct reply-to: a queue of this channel alone, under a name nobody can guess."""
    if not no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.reply_queue is not None:
        raise PreconditionFailed("reply consumer already set")
    tag = _new_tag(channel, tag)
    vhost = channel.vhost
    token = channel.connection.environment.token
    name = f"{REPLY_TO}.{token()}.{token()}"
    queue = vhost.registry.queue_types["classic"](vhost.shard, vhost.name, name, False, False, channel.connection, {})
    queue.identify(vhost.shard.journal.new_id())
    vhost.reply_queues[name] = queue
    channel.reply_queue = queue
    _start(channel, tag, queue, True, True, {}, no_wait)


def basic_cancel(channel: Channel, arguments: ArgumentReader) -> None:
    """Its messages stay with the channel, to be settled still. An unknown tag is no error."""
    tag = arguments.shortstr()
    no_wait = arguments.octet() & 1
    arguments.end()
    consumer = channel.consumers.pop(tag, None)
    if consumer is not None:
        if consumer.queue is channel.reply_queue:
            channel.end_replies()
        channel.vhost.lost_consumer(consumer)
    if not no_wait:
        channel.send(MethodWriter(BASIC_CANCEL_OK).shortstr(tag))


def basic_get(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    no_ack = bool(arguments.octet() & 1)
    arguments.end()
    name = name or last_queue(channel)
    channel.check_permission(READ, "queue", name, BASIC_GET)
    queue = find_queue(channel, name, BASIC_GET)
    if queue.kind == QUORUM and has_single_active(queue):
        raise ResourceLocked(
            f"cannot obtain access to locked queue '{name}' in vhost '{queue.vhost}'. basic.get operations are not "
            "supported by quorum queues with single active consumer"
        )
    if channel.reply_batch:
        # Held with the replies before it, each message would be in memory once more.
        channel.connection.wait_for_commit(channel, arguments)
        return
    entry = queue.get()
    if entry is None:
        if queue.loading():
            # Its messages are on disk: this connection waits for the page, then asks again.
            channel.connection.wait_for_page(channel, arguments)
            return
        channel.send(MethodWriter(BASIC_GET_EMPTY).shortstr(""))
        return
    channel.delivery_tag += 1
    tag = channel.delivery_tag
    message = entry.message
    address = message.address
    writer = MethodWriter(BASIC_GET_OK).longlong(int(tag)).octet(int(entry.redelivered))
    writer.shortstr(address.exchange).shortstr(address.routing_key).long(queue.message_count())
    # A quorum queue shows the count of a message that is got even where it is 0 (RabbitMQ 3.10.8, seen).
    header = counted(entry) if entry.acquired or queue.kind == QUORUM else message.header.payload
    if channel.vhost.tracing:
        delivered(channel, queue, message, header, entry.redelivered)
    channel.send_content(writer, header, message.body)
    if no_ack:
        queue.settle(entry)
    else:
        entry.delivery_tag = tag
        channel.unacked.add(entry)
        expect_acknowledgement(channel, queue, None)


def basic_recover(channel: Channel, arguments: ArgumentReader) -> None:
    requeue = arguments.octet() & 1
    arguments.end()
    if not requeue:
        raise NotImplementedByBroker("requeue=false")
    channel.requeue_all(RECOVERED)
    if arguments.method == BASIC_RECOVER:
        channel.send(MethodWriter(BASIC_RECOVER_OK))


def basic_cancel_ok(channel: Channel, arguments: ArgumentReader) -> None:
    """The answer to our basic.cancel; nothing depends on it. (An invalid command to RabbitMQ 3.10.8.)"""
    arguments.shortstr()
    arguments.end()


HANDLERS: dict[int, Handler] = {
    BASIC_QOS: basic_qos,
    BASIC_CONSUME: basic_consume,
    BASIC_CANCEL: basic_cancel,
    BASIC_CANCEL_OK: basic_cancel_ok,
    BASIC_GET: basic_get,
    BASIC_RECOVER: basic_recover,
    BASIC_RECOVER_ASYNC: basic_recover,
}
