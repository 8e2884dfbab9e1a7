"""What an operator does with messages that wait: list, show, cancel, reschedule, fire; and counts.

Arguments and results are what JSON can carry, so that the command line and HTTP can share them. Times are milliseconds
since 1970. Which messages are meant, for all commands but ``stats``:

    vhost, exchange   only there; absent or null for all
    ids               a list of ids, as ``delayed list`` shows them
    message_id        that message-id property
    routing_key       that routing key
    headers           an object of names and values, the values as text
    after, before     due at ``after`` or later, due before ``before``

One that changes messages needs one of these besides vhost and exchange, or ``"all": true``. It changes a bounded number
at once; the answer's ``next``, unless null, is to be given as ``page`` for the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from amqpd.broker.broker import Broker
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.registry import Registry
from amqpd.queues.schedule import END_OF_TIME
from amqpd.spec.arguments import MILLISECONDS_MAX, described
from amqpd.wire.content import message_id
from amqpd.wire.table import plain
from amqpd_delayed_message import recurrence
from amqpd_delayed_message.exchange import INNER_TYPE, DelayedExchange, Delays
from amqpd_delayed_message.keeper import PUBLISHER
from amqpd_delayed_message.properties import properties_of
from amqpd_delayed_message.search import START, Found, Place, Search, Wanted

Row = dict[str, Any]
Arguments = Mapping[str, Any]
# What ``page`` takes and ``next`` gives: due time and id; None at the beginning and the end.
Page = list[int] | None

LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 1_000
# What one command changes at once: the broker does nothing else meanwhile.
CHANGE_LIMIT: Final = 1_000
BODY_SHOWN_MAX: Final = 65_536  # octets

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def register(registry: Registry, delays: Delays) -> None:
    commands = Commands(delays)
    registry.command("delayed list", commands.list_page)
    registry.command("delayed show", commands.show)
    registry.command("delayed cancel", commands.cancel, changes=True)
    registry.command("delayed reschedule", commands.reschedule, changes=True)
    registry.command("delayed fire", commands.fire, changes=True)
    registry.command("delayed stats", commands.stats)


class Commands:
    """Each raises ValueError to refuse, with one line."""

    def __init__(self, delays: Delays) -> None:
        self.delays = delays

    def list_page(self, broker: Broker, arguments: Arguments) -> Inquiry:
        """``limit``: 100 unless told. Gives ``messages`` in order of due time and id, and ``next``."""
        limit = _number(arguments, "limit", LIST_LIMIT, 1, LIST_LIMIT_MAX)
        return self._search(arguments, limit, lambda found, following: {"messages": _rows(found), "next": following})

    def show(self, broker: Broker, arguments: Arguments) -> Inquiry:
        """One message with its properties and body, as it waits: it stays where it is."""
        if not _wanted(arguments).ids and not arguments.get("message_id"):
            raise ValueError("say which message to show: its id, or its message-id")

        def shown(found: list[Found], following: Page) -> Row:
            if not found:
                raise ValueError("no such message waits")
            return _row(found[0]) | _content(found[0])

        return self._search(arguments, 1, shown)

    def cancel(self, broker: Broker, arguments: Arguments) -> object:
        """Gives ``count``, how many are gone now, and ``next``."""
        exchanges, wanted = self._exchanges(arguments), _wanted(arguments)
        _ask_what(arguments, wanted)
        if wanted.everything:
            return {"count": sum([_dropped(exchange) for exchange in exchanges]), "next": None}

        def cancelled(found: list[Found], following: Page) -> Row:
            for one in found:
                one.exchange.keeper.cancel(one.entry)
            return {"count": len(found), "next": following}

        return self._search(arguments, CHANGE_LIMIT, cancelled)

    def reschedule(self, broker: Broker, arguments: Arguments) -> Inquiry:
        """``at``, or ``in`` so many milliseconds. Gives ``count``, ``at`` and ``next``."""
        _ask_what(arguments, _wanted(arguments))
        now = int(broker.now)
        if ("at" in arguments) == ("in" in arguments):
            raise ValueError("say when: either 'at' or 'in'")
        if "at" in arguments:
            at = _number(arguments, "at", 0, 0, now + MILLISECONDS_MAX)
        else:
            at = now + _number(arguments, "in", 0, 0, MILLISECONDS_MAX)
        return self._moved(arguments, at)

    def fire(self, broker: Broker, arguments: Arguments) -> Inquiry:
        """They are due now. Gives ``count``, ``at`` and ``next``."""
        _ask_what(arguments, _wanted(arguments))
        return self._moved(arguments, int(broker.now))

    def _moved(self, arguments: Arguments, at: int) -> Inquiry:
        def moved(found: list[Found], following: Page) -> Row:
            # Those that were moved lie ahead of the page, and would be found again.
            others = [one for one in found if one.entry.deadline != at]
            for one in others:
                one.exchange.schedule.move(one.entry, at)
            return {"count": len(others), "at": at, "next": following}

        return self._search(arguments, CHANGE_LIMIT, moved)

    def stats(self, broker: Broker, arguments: Arguments) -> list[Row]:
        """A row for each exchange. Nothing is counted for it: it takes as long with a million messages as with one."""
        return [_stats(exchange) for exchange in self._exchanges(arguments)]

    # What the arguments mean

    def _search(self, arguments: Arguments, limit: int, then: Callable[[list[Found], Page], object]) -> Inquiry:
        def answered(found: list[Found], following: Place | None) -> object:
            return then(found, None if following is None else list(following))

        return Search(self._exchanges(arguments), _wanted(arguments), _start(arguments), limit, answered)

    def _exchanges(self, arguments: Arguments) -> list[DelayedExchange]:
        vhost, name = _text(arguments, "vhost"), _text(arguments, "exchange")
        found = [
            exchange
            for exchange in self.delays.exchanges()
            if (vhost is None or exchange.vhost == vhost) and (name is None or exchange.name == name)
        ]
        if vhost is not None and vhost not in self.delays.broker.vhosts:
            raise ValueError(f"no vhost '{vhost}'")
        if name is not None and not found:
            raise ValueError(f"no delayed exchange '{name}'" + ("" if vhost is None else f" in vhost '{vhost}'"))
        return found


def _wanted(arguments: Arguments) -> Wanted:
    ids, headers = arguments.get("ids") or [], arguments.get("headers") or {}
    if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids) or len(ids) > CHANGE_LIMIT:
        raise ValueError(f"'ids' must be a list of at most {CHANGE_LIMIT} numbers")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("'headers' must be an object of names and texts")
    return Wanted(
        tuple(ids),
        _text(arguments, "message_id"),
        _text(arguments, "routing_key"),
        headers,
        _number(arguments, "after", 0, 0, END_OF_TIME),
        _number(arguments, "before", END_OF_TIME, 0, END_OF_TIME),
    )


def _dropped(exchange: DelayedExchange) -> int:
    """Everything that waits there, at once whatever the number."""
    count = exchange.schedule.purge()
    exchange.keeper.counts["cancelled"] += count
    return count


def _ask_what(arguments: Arguments, wanted: Wanted) -> None:
    if wanted.everything and arguments.get("all") is not True:
        raise ValueError("say which messages: by id, message-id, routing key, header or time, or all")


def _text(arguments: Arguments, name: str) -> str | None:
    value = arguments.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"'{name}' must be a text")
    return value


def _number(arguments: Arguments, name: str, default: int, least: int, most: int) -> int:
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"'{name}' must be a number from {least} to {most}")
    return value


def _start(arguments: Arguments) -> Place:
    page = arguments.get("page")
    if page is None:
        return START
    if not isinstance(page, list) or len(page) != 2 or not all(isinstance(part, int) for part in page):
        raise ValueError("'page' must be what an answer gave as 'next'")
    return page[0], page[1]


# Rows


def _rows(found: list[Found]) -> list[Row]:
    return [_row(one) for one in found]


def _row(found: Found) -> Row:
    """``recurs``: empty, or in words. ``fired``: how often it came so far."""
    entry, exchange = found.entry, found.exchange
    message = entry.message
    due, identity = found.place
    return {
        "id": identity,
        "due": due,
        "due_at": time_text(due),
        "vhost": exchange.vhost,
        "exchange": exchange.name,
        "routing_key": message.address.routing_key,
        "message_id": message_id(message.header),
        "bytes": int(entry.size()),
        "recurs": recurrence.words(message.header),
        "fired": int(entry.deliveries),
        "headers": _headers(found),
    }


def _headers(found: Found) -> Row:
    table = found.entry.message.header.table()
    return {name: _json(plain(value)) for name, value in table.items() if name != PUBLISHER}


def _content(found: Found) -> Row:
    """``body``: text, where it is; else ``body_base64``. ``cut``: there is more of it."""
    message = found.entry.message
    body = message.body[:BODY_SHOWN_MAX]
    row: Row = {"properties": properties_of(message.header), "cut": len(message.body) > BODY_SHOWN_MAX}
    try:
        return row | {"body": body.decode()}
    except UnicodeDecodeError:
        return row | {"body_base64": base64.b64encode(body).decode()}


def _json(value: object) -> Any:
    """What JSON can carry."""
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, bytes):
        return described(value)
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value


def time_text(milliseconds: int) -> str:
    """``2027-01-15T08:00:00.000Z``; empty for 0."""
    if not milliseconds:
        return ""
    time = _EPOCH + timedelta(milliseconds=milliseconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stats(exchange: DelayedExchange) -> Row:
    """``in_memory``: how many of those that wait. ``late_*``: of those that came, at most so many milliseconds."""
    schedule = exchange.schedule
    next_due = schedule.next_deadline()
    return {
        "vhost": exchange.vhost,
        "exchange": exchange.name,
        "type": described(exchange.arguments[INNER_TYPE].value),
        "durable": exchange.durable,
        "waiting": int(schedule.count),
        "bytes": int(schedule.size),
        "max_pending": int(schedule.limit),
        "in_memory": len(schedule.window),
        "next_due": next_due,
        "next_due_at": time_text(next_due),
        **exchange.keeper.counts,
        "late_p50": _late(schedule.lateness, 0.5),
        "late_p99": _late(schedule.lateness, 0.99),
        "late_max": _late(schedule.lateness, 1),
    }


def _late(lateness: list[int], share: float) -> int:
    """The upper bound of the class that ``share`` of all lie in or below; 0 where there are none."""
    wanted = sum(lateness) * share
    seen = 0
    for bits, count in enumerate(lateness):
        seen += count
        if count and seen >= wanted:
            return (1 << bits) - 1
    return 0
