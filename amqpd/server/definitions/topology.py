"""Exchanges, queues and bindings: entries taken in, and as an export shows them."""

from __future__ import annotations

from collections.abc import Iterator

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination, Queue
from amqpd.broker.vhost import VHost
from amqpd.server.definitions.document import Entry
from amqpd.server.definitions.fields import Fields
from amqpd.server.definitions.target import Target, Verdict
from amqpd.server.definitions.values import table_json, table_of
from amqpd.session.exchange_methods import RESERVED_PREFIX, check_equivalent_exchange
from amqpd.session.queue_methods import check_equivalent_queue, locked
from amqpd.spec.arguments import ALTERNATE_EXCHANGE, CLASSIC, queue_type
from amqpd.spec.declaring import check_is_text, check_new_queue
from amqpd.spec.errors import CommandInvalid, NotFound
from amqpd.wire.table import Table, longstr


def is_own(name: str) -> bool:
    """What the broker names and makes by itself; RabbitMQ does not import it either."""
    return not name or name.startswith(RESERVED_PREFIX)


# Exchanges


def take_exchange(target: Target, fields: Fields) -> Verdict:
    vhost, name = target.vhost(fields.text("vhost")), fields.name()
    if is_own(name):
        return Verdict.SKIPPED
    kind, durable = fields.name("type"), fields.flag("durable", True)
    auto_delete, internal = fields.flag("auto_delete", False), fields.flag("internal", False)
    table = table_of(fields.table("arguments", {}))
    if kind not in vhost.registry.exchange_types:
        raise CommandInvalid(f"unknown exchange type '{kind}'")
    existing = vhost.exchanges.get(name)
    if existing is not None:
        check_equivalent_exchange(existing, kind, durable, auto_delete, internal, table)
        return Verdict.SAME
    if (alternate := table.get(ALTERNATE_EXCHANGE)) is not None:
        check_is_text(ALTERNATE_EXCHANGE, alternate, "exchange", name, vhost.name)
    vhost.declare_exchange(name, kind, durable, auto_delete, internal, table)
    return Verdict.ADDED


def exchange_entries(vhost: VHost) -> Iterator[Entry]:
    for name, exchange in sorted(vhost.exchanges.items()):
        if not is_own(name):
            yield {
                "name": name,
                "vhost": vhost.name,
                "type": exchange.kind,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": table_json(exchange.arguments),
            }


# Queues


def take_queue(target: Target, fields: Fields) -> Verdict:
    """Declare it as a client would, but for permissions and for the vhost's limit of queues, as in RabbitMQ."""
    vhost, name = target.vhost(fields.text("vhost")), fields.name()
    if is_own(name):
        return Verdict.SKIPPED
    durable, auto_delete = fields.flag("durable", True), fields.flag("auto_delete", False)
    table = table_of(fields.table("arguments", {}))
    kind = vhost.default_queue_type()
    if durable and not auto_delete and kind not in ("", CLASSIC):
        table.setdefault("x-queue-type", longstr(kind))
    existing = vhost.queues.get(name)
    if existing is not None:
        if existing.owner is not None:
            raise locked(existing)
        check_equivalent_queue(existing, durable, auto_delete, table)
        return Verdict.SAME
    check_new_queue(table, name, vhost.name, durable, False, auto_delete)
    vhost.declare_queue(name, queue_type(table), durable, auto_delete, None, table)
    return Verdict.ADDED


def exported(queue: Queue) -> bool:
    """An exclusive queue cannot be restored, and one the broker named is declared under another name."""
    return queue.owner is None and not is_own(queue.name)


def queue_entries(vhost: VHost) -> Iterator[Entry]:
    typed = vhost.default_queue_type() not in ("", CLASSIC)
    for name, queue in sorted(vhost.queues.items()):
        if exported(queue):
            arguments = table_json(queue.arguments)
            # One that does not say its type would get the vhost's where it is imported.
            if typed and queue.durable and not queue.auto_delete:
                arguments.setdefault("x-queue-type", queue.kind)
            yield {
                "name": name,
                "vhost": vhost.name,
                "durable": queue.durable,
                "auto_delete": queue.auto_delete,
                "arguments": arguments,
            }


# Bindings


def take_binding(target: Target, fields: Fields) -> Verdict:
    vhost = target.vhost(fields.text("vhost"))
    source_name, name = fields.name("source"), fields.name("destination")
    kind, routing_key = fields.text("destination_type", "queue"), fields.name("routing_key", "")
    table = table_of(fields.table("arguments", {}))
    if kind not in ("queue", "exchange"):
        raise ValueError(f"'destination_type' must be queue or exchange, not '{kind}'")
    if not source_name or not name or (kind == "queue" and is_own(name)):
        return Verdict.SKIPPED
    source = vhost.exchanges.get(source_name)
    if source is None:
        raise NotFound(f"no exchange '{source_name}' in vhost '{vhost.name}'")
    destination = _destination(vhost, kind, name)
    if _is_bound(vhost, source, destination, routing_key, table):
        return Verdict.SAME
    vhost.bind(source, destination, routing_key, table)
    return Verdict.ADDED


def _destination(vhost: VHost, kind: str, name: str) -> Destination:
    found: Destination | None
    if kind == "exchange":
        found = vhost.exchanges.get(name)
    else:
        found = queue = vhost.queues.get(name)
        if queue is not None and queue.owner is not None:
            raise locked(queue)
    if found is None:
        raise NotFound(f"no {kind} '{name}' in vhost '{vhost.name}'")
    return found


def _is_bound(vhost: VHost, source: Exchange, destination: Destination, routing_key: str, table: Table) -> bool:
    """Whether the binding is there, be it with other types of number: an export does not know them."""
    if Binding(source, destination, routing_key, table).key in source.bindings:
        return True
    if not table:
        return False
    wanted = table_json(table)
    return any(
        one.source is source and one.routing_key == routing_key and table_json(one.arguments) == wanted
        for one in vhost.bound.get(destination, {}).values()
    )


def binding_entries(vhost: VHost) -> Iterator[Entry]:
    for name, source in sorted(vhost.exchanges.items()):
        # The default exchange binds each queue by itself; it holds no bindings that anybody made.
        for _, binding in sorted(source.bindings.items() if name else ()):
            destination = binding.destination
            if not isinstance(destination, Queue) or exported(destination):
                yield {
                    "source": name,
                    "vhost": vhost.name,
                    "destination": destination.name,
                    "destination_type": binding.destination_type,
                    "routing_key": binding.routing_key,
                    "arguments": table_json(binding.arguments),
                }
