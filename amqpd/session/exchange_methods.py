"""Methods of the exchange class (spec 1.6; behaviour as in RabbitMQ, interop/conformance/test_exchange.py)."""

from __future__ import annotations

from amqpd.auth.permissions import CONFIGURE, READ, WRITE
from amqpd.broker.exchange import Exchange
from amqpd.session.channel import Channel
from amqpd.session.environment import Handler
from amqpd.spec.arguments import ALTERNATE_EXCHANGE, DEAD_LETTER_EXCHANGE, described
from amqpd.spec.constants import (
    EXCHANGE_BIND,
    EXCHANGE_BIND_OK,
    EXCHANGE_DECLARE,
    EXCHANGE_DECLARE_OK,
    EXCHANGE_DELETE,
    EXCHANGE_DELETE_OK,
    EXCHANGE_UNBIND,
    EXCHANGE_UNBIND_OK,
)
from amqpd.spec.declaring import check_equivalent, check_equivalent_arguments, check_is_text
from amqpd.spec.errors import AccessRefused, CommandInvalid, NotFound, PreconditionFailed
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.table import Table

RESERVED_PREFIX = "amq."


def exchange_declare(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    kind = arguments.shortstr()
    bits = arguments.octet()
    table = arguments.table()
    arguments.end()
    passive, durable, auto_delete, internal, no_wait = (bool(bits & bit) for bit in (1, 2, 4, 8, 16))
    if passive:
        refuse_default(name)
        find_exchange(channel, name)
    else:
        _declare(channel, name, kind, durable, auto_delete, internal, table)
    if not no_wait:
        channel.send(MethodWriter(EXCHANGE_DECLARE_OK))


def _declare(
    channel: Channel, name: str, kind: str, durable: bool, auto_delete: bool, internal: bool, table: Table
) -> None:
    vhost = channel.vhost
    if kind not in vhost.registry.exchange_types:
        # A connection error up to RabbitMQ 3.13; from 4.0 it closes the channel with 406.
        raise CommandInvalid(f"unknown exchange type '{kind}'")
    refuse_default(name)
    channel.check_permission(CONFIGURE, "exchange", name, EXCHANGE_DECLARE)
    existing = vhost.exchanges.get(name)
    if existing is not None:
        check_equivalent_exchange(existing, kind, durable, auto_delete, internal, table)
        channel.await_definition(existing)
        return
    if name.startswith(RESERVED_PREFIX):
        raise AccessRefused(f"exchange name '{name}' contains reserved prefix 'amq.*'")
    alternate = table.get(ALTERNATE_EXCHANGE)
    if alternate is not None:
        check_is_text(ALTERNATE_EXCHANGE, alternate, "exchange", name, vhost.name)
        channel.check_permission(READ, "exchange", name, EXCHANGE_DECLARE)
        channel.check_permission(WRITE, "exchange", described(alternate.value), EXCHANGE_DECLARE)
    dead_letters = table.get(DEAD_LETTER_EXCHANGE)
    if dead_letters is not None:
        channel.check_permission(READ, "exchange", name, EXCHANGE_DECLARE)
        channel.check_permission(WRITE, "exchange", described(dead_letters.value), EXCHANGE_DECLARE)
    vhost.declare_exchange(name, kind, durable, auto_delete, internal, table)


def check_equivalent_exchange(
    exchange: Exchange, kind: str, durable: bool, auto_delete: bool, internal: bool, table: Table
) -> None:
    """Raises PreconditionFailed (406) when the exchange was declared with something else."""
    for key, received, current in (
        ("type", kind, exchange.kind),
        ("durable", durable, exchange.durable),
        ("auto_delete", auto_delete, exchange.auto_delete),
        ("internal", internal, exchange.internal),
    ):
        check_equivalent(key, received, current, "exchange", exchange.name, exchange.vhost)
    check_equivalent_arguments(
        (ALTERNATE_EXCHANGE,), table, exchange.arguments, "exchange", exchange.name, exchange.vhost
    )


def exchange_delete(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.short()
    name = without_line_breaks(arguments.shortstr())
    bits = arguments.octet()
    arguments.end()
    vhost = channel.vhost
    refuse_default(name)
    if name.startswith(RESERVED_PREFIX):
        raise AccessRefused(f"deletion of system exchange '{name}' in vhost '{vhost.name}' not allowed")
    channel.check_permission(CONFIGURE, "exchange", name, EXCHANGE_DELETE)
    exchange = vhost.exchanges.get(name)
    if exchange is not None:
        if bits & 1 and exchange.bindings:
            raise PreconditionFailed(f"exchange '{name}' in vhost '{vhost.name}' in use")
        vhost.delete_exchange(exchange)
    if not bits & 2:
        channel.send(MethodWriter(EXCHANGE_DELETE_OK))


def exchange_bind(channel: Channel, arguments: ArgumentReader) -> None:
    destination_name, source_name, key, no_wait, table = _bind_arguments(channel, arguments, EXCHANGE_BIND)
    source = find_exchange(channel, source_name)
    destination = find_exchange(channel, destination_name)
    channel.check_topic(source, key, READ, EXCHANGE_BIND)
    channel.vhost.bind(source, destination, key, table)
    if not no_wait:
        channel.send(MethodWriter(EXCHANGE_BIND_OK))


def exchange_unbind(channel: Channel, arguments: ArgumentReader) -> None:
    destination_name, source_name, key, no_wait, table = _bind_arguments(channel, arguments, EXCHANGE_UNBIND)
    source = channel.vhost.exchanges.get(source_name)
    destination = channel.vhost.exchanges.get(destination_name)
    if source is not None and destination is not None:
        channel.check_topic(source, key, READ, EXCHANGE_UNBIND)
        channel.vhost.unbind(source, destination, key, table)
    if not no_wait:
        channel.send(MethodWriter(EXCHANGE_UNBIND_OK))


def _bind_arguments(channel: Channel, arguments: ArgumentReader, method: int) -> tuple[str, str, str, bool, Table]:
    arguments.short()
    destination = without_line_breaks(arguments.shortstr())
    source = without_line_breaks(arguments.shortstr())
    key = arguments.shortstr()
    no_wait = bool(arguments.octet() & 1)
    table = arguments.table()
    arguments.end()
    refuse_default(destination)
    channel.check_permission(WRITE, "exchange", destination, method)
    refuse_default(source)
    channel.check_permission(READ, "exchange", source, method)
    return destination, source, key, no_wait, table


def find_exchange(channel: Channel, name: str) -> Exchange:
    """Raises NotFound (404) when there is none."""
    exchange = channel.vhost.exchanges.get(name)
    if exchange is None:
        raise NotFound(f"no exchange '{name}' in vhost '{channel.vhost.name}'")
    return exchange


def refuse_default(name: str) -> None:
    """Raises AccessRefused (403): nobody declares, deletes or binds the default exchange."""
    if not name:
        raise AccessRefused("operation not permitted on the default exchange")


def without_line_breaks(name: str) -> str:
    """RabbitMQ takes CR and LF out of names it is given."""
    return name.replace("\r", "").replace("\n", "")


HANDLERS: dict[int, Handler] = {
    EXCHANGE_DECLARE: exchange_declare,
    EXCHANGE_DELETE: exchange_delete,
    EXCHANGE_BIND: exchange_bind,
    EXCHANGE_UNBIND: exchange_unbind,
}
