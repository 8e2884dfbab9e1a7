"""Methods of the queue class (spec 1.7; behaviour as in RabbitMQ, interop/conformance/test_queue.py)."""

from __future__ import annotations

from amqpd.auth.permissions import CONFIGURE, READ, WRITE
from amqpd.broker.queue import Queue
from amqpd.broker.vhost import REPLY_TO
from amqpd.session.channel import Channel
from amqpd.session.environment import Handler
from amqpd.session.exchange_methods import (
    RESERVED_PREFIX,
    find_exchange,
    refuse_default,
    without_line_breaks,
)
from amqpd.spec.arguments import CLASSIC, COMPARED, DEAD_LETTER_EXCHANGE, described, queue_type
from amqpd.spec.constants import (
    QUEUE_BIND,
    QUEUE_BIND_OK,
    QUEUE_DECLARE,
    QUEUE_DECLARE_OK,
    QUEUE_DELETE,
    QUEUE_DELETE_OK,
    QUEUE_PURGE,
    QUEUE_PURGE_OK,
    QUEUE_UNBIND,
    QUEUE_UNBIND_OK,
)
from amqpd.spec.declaring import (
    check_dead_letter_exchange,
    check_equivalent,
    check_equivalent_arguments,
    check_new_queue,
    check_server_named,
)
from amqpd.spec.errors import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.table import Table, longstr


def queue_declare(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    bits = arguments.octet()
    table = arguments.table()
    arguments.end()
    passive, durable, exclusive, auto_delete, no_wait = (bool(bits & bit) for bit in (1, 2, 4, 8, 16))
    messages = consumers = 0
    if name == REPLY_TO or name in channel.vhost.reply_queues:
        consumers = 1  # direct reply-to: clients ask whether a requester still listens
    else:
        if passive:
            queue = find_queue(channel, name, QUEUE_DECLARE)
        else:
            queue = _declare(channel, name, durable, exclusive, auto_delete, table)
        queue.redeclared()
        name = channel.last_queue = queue.name
        if queue.dirty:
            queue.pump()  # what came just before, and is over a limit or past its time, must not be counted
        messages, consumers = queue.message_count(), len(queue.consumers())
    if not no_wait:
        channel.send(MethodWriter(QUEUE_DECLARE_OK).shortstr(name).long(messages).long(consumers))


def _declare(channel: Channel, name: str, durable: bool, exclusive: bool, auto_delete: bool, table: Table) -> Queue:
    vhost = channel.vhost
    connection = channel.connection
    server_named = not name
    if server_named:
        check_server_named(table)
        name = "amq.gen-" + connection.environment.token()
    elif name.startswith(REPLY_TO):
        raise NotFound(f"no queue '{name}' in vhost '{vhost.name}'")
    elif name.startswith(RESERVED_PREFIX):
        # Whether the queue exists or not (RabbitMQ 3.10.8, seen): a server-named one is declared passively.
        raise AccessRefused(f"queue name '{name}' contains reserved prefix 'amq.*'")
    any_type = durable and not (exclusive or auto_delete or server_named)
    channel.check_permission(CONFIGURE, "queue", name, QUEUE_DECLARE)
    owner = connection if exclusive else None
    stored = durable and not exclusive  # an exclusive one cannot outlive its connection; RabbitMQ stores it so, too
    existing = vhost.queues.get(name)
    if any_type:
        table = _with_default_type(channel, table, existing)
    if existing is not None:
        if existing.owner is not owner:
            raise locked(existing)
        check_equivalent_queue(existing, stored, auto_delete, table)
        channel.await_definition(existing)
        return existing
    limit = connection.environment.limiter.vhost_limit(vhost.name, "max-queues")
    if 0 <= limit <= len(vhost.queues):
        raise PreconditionFailed(
            f"cannot declare queue '{name}': queue limit in vhost '{vhost.name}' ({limit}) is reached"
        )
    dead_letters = table.get(DEAD_LETTER_EXCHANGE)
    if dead_letters is not None:
        check_dead_letter_exchange(table, name, vhost.name)
        channel.check_permission(READ, "queue", name, QUEUE_DECLARE)
        channel.check_permission(WRITE, "exchange", described(dead_letters.value), QUEUE_DECLARE)
    check_new_queue(table, name, vhost.name, durable, exclusive, auto_delete)
    queue = vhost.declare_queue(name, queue_type(table), stored, auto_delete, owner, table)
    if exclusive:
        connection.own(queue)
    return queue


def _with_default_type(channel: Channel, table: Table, existing: Queue | None) -> Table:
    """The arguments of a queue that may be of any type, with the default type where they do not say.

    A queue that was declared before the default changed is still what its clients declare.
    """
    if "x-queue-type" in table:
        return table
    kind = channel.vhost.default_queue_type() or channel.connection.environment.default_queue_type
    if kind == CLASSIC or (existing is not None and existing.kind == CLASSIC):
        return table
    return {**table, "x-queue-type": longstr(kind)}


def check_equivalent_queue(queue: Queue, durable: bool, auto_delete: bool, table: Table) -> None:
    """Raises PreconditionFailed (406) when the queue was declared with something else."""
    check_equivalent("durable", durable, queue.durable, "queue", queue.name, queue.vhost)
    check_equivalent("auto_delete", auto_delete, queue.auto_delete, "queue", queue.name, queue.vhost)
    check_equivalent_arguments(COMPARED[queue.kind], table, queue.arguments, "queue", queue.name, queue.vhost)


def queue_bind(channel: Channel, arguments: ArgumentReader) -> None:
    name, exchange_name, key, table, no_wait = _bind_arguments(channel, arguments, QUEUE_BIND)
    queue = find_queue(channel, name, QUEUE_BIND)
    exchange = find_exchange(channel, exchange_name)
    channel.check_topic(exchange, key, READ, QUEUE_BIND)
    channel.vhost.bind(exchange, queue, key, table)
    if not no_wait:
        channel.send(MethodWriter(QUEUE_BIND_OK))


def queue_unbind(channel: Channel, arguments: ArgumentReader) -> None:
    """Unbinding what is not bound, or from what is not there, is no error."""
    name, exchange_name, key, table, _ = _bind_arguments(channel, arguments, QUEUE_UNBIND)
    queue = channel.vhost.queues.get(name)
    exchange = channel.vhost.exchanges.get(exchange_name)
    if queue is not None and exchange is not None:
        channel.check_topic(exchange, key, READ, QUEUE_UNBIND)
        channel.vhost.unbind(exchange, queue, key, table)
    channel.send(MethodWriter(QUEUE_UNBIND_OK))


def _bind_arguments(channel: Channel, arguments: ArgumentReader, method: int) -> tuple[str, str, str, Table, bool]:
    """Queue, exchange, key, table and no-wait; an empty queue name means the last one declared."""
    arguments.short()
    given = without_line_breaks(arguments.shortstr())
    exchange = without_line_breaks(arguments.shortstr())
    key = arguments.shortstr()
    no_wait = bool(arguments.octet() & 1) if method == QUEUE_BIND else False
    table = arguments.table()
    arguments.end()
    name = given or last_queue(channel)
    if not given and not key:
        key = name
    channel.check_permission(WRITE, "queue", name, method)
    refuse_default(exchange)
    channel.check_permission(READ, "exchange", exchange, method)
    return name, exchange, key, table, no_wait


def queue_purge(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    no_wait = arguments.octet() & 1
    arguments.end()
    name = name or last_queue(channel)
    channel.check_permission(READ, "queue", name, QUEUE_PURGE)
    count = find_queue(channel, name, QUEUE_PURGE).purge()
    if not no_wait:
        channel.send(MethodWriter(QUEUE_PURGE_OK).long(count))


def queue_delete(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    bits = arguments.octet()
    arguments.end()
    name = name or last_queue(channel)
    channel.check_permission(CONFIGURE, "queue", name, QUEUE_DELETE)
    count = 0
    if name in channel.vhost.queues:
        queue = find_queue(channel, name, QUEUE_DELETE)
        if bits & 1 and queue.consumers():
            raise PreconditionFailed(f"queue '{name}' in vhost '{queue.vhost}' in use")
        if bits & 2 and queue.message_count():
            raise PreconditionFailed(f"queue '{name}' in vhost '{queue.vhost}' not empty")
        count = channel.vhost.delete_queue(queue)
    if not bits & 4:
        channel.send(MethodWriter(QUEUE_DELETE_OK).long(count))


def find_queue(channel: Channel, name: str, method: int) -> Queue:
    """Raises NotFound (404), or ResourceLocked (405) for another connection's exclusive queue."""
    queue = channel.vhost.queues.get(name)
    if queue is None:
        raise NotFound(f"no queue '{name}' in vhost '{channel.vhost.name}'", method)
    if queue.owner is not None and queue.owner is not channel.connection:
        raise locked(queue)
    return queue


def locked(queue: Queue) -> ResourceLocked:
    return ResourceLocked(
        f"cannot obtain exclusive access to locked queue '{queue.name}' in vhost '{queue.vhost}'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the "
        "original declaration."
    )


def last_queue(channel: Channel) -> str:
    """Raises NotFound (404) when this channel declared none."""
    if not channel.last_queue:
        raise NotFound("no previously declared queue")
    return channel.last_queue


HANDLERS: dict[int, Handler] = {
    QUEUE_DECLARE: queue_declare,
    QUEUE_BIND: queue_bind,
    QUEUE_UNBIND: queue_unbind,
    QUEUE_PURGE: queue_purge,
    QUEUE_DELETE: queue_delete,
}
