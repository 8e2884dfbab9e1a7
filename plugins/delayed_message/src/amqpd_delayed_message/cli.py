"""The commands ``amqpd delayed ...``; ``commands`` does what they ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from amqpd.server.cli import common_options, kept
from amqpd.server.cli_commands import perform, show_rows
from amqpd.wire.table import longstr
from amqpd_delayed_message.due import time_ms

F = TypeVar("F", bound=Callable[..., Any])

_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")
_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Time(click.ParamType[int]):
    """Milliseconds since 1970, or ISO 8601 with a zone; both as milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        time = time_ms(longstr(value)) if isinstance(value, str) else value
        if time < 0:
            self.fail("a time is 2027-01-15T08:00:00Z, with its zone, or milliseconds since 1970", param, ctx)
        return int(time)


class Duration(click.ParamType[int]):
    """``500ms``, ``90s``, ``15m``, ``2h``, ``3d``, ``1w``; as milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail("a duration is a number with ms, s, m, h, d or w, such as 15m", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class Pair(click.ParamType[tuple[str, str]]):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail("a header is given as NAME=VALUE", param, ctx)
        return name, text


class Page(click.ParamType[list[int]]):
    """``DUE:ID``, as the page before told."""

    name = "page"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        due, _, identity = str(value).partition(":")
        if not due.isdecimal() or not identity.isdecimal():
            self.fail("a page is what the one before told", param, ctx)
        return [int(due), int(identity)]


def _which(function: F) -> F:
    """The options that say which messages are meant."""
    for made in (
        click.option("--before", type=Time(), metavar="TIME", help="Due before this."),
        click.option("--after", type=Time(), metavar="TIME", help="Due then or later."),
        click.option("--header", "headers", type=Pair(), multiple=True, metavar="K=V", help="With this header."),
        click.option("--routing-key", metavar="KEY", help="With this routing key."),
        click.option("--message-id", metavar="ID", help="With this message-id property."),
        click.option("--exchange", metavar="X", help="Of this exchange only."),
        click.option("--vhost", default=None, metavar="V", help="Of this vhost only."),
    ):
        function = made(function)
    return function


_ids = click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
_all = click.option("--all", "all_", is_flag=True, help="All that the other options leave; needed when there are none.")


def _arguments(ids: tuple[int, ...], headers: tuple[tuple[str, str], ...], **others: Any) -> dict[str, Any]:
    return {"ids": list(ids), "headers": dict(headers), **others}


@click.group()
@common_options
def delayed() -> None:
    """Messages that wait in delayed exchanges.

    Times are ISO 8601 with a zone, or milliseconds since 1970. An ID is what 'amqpd delayed list' shows.
    """


@delayed.command("list")
@_ids
@_which
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), metavar="N", help="At most.")
@click.option("--page", type=Page(), metavar="DUE:ID", help="Behind this place: the page before told.")
@common_options
def delayed_list(ids: tuple[int, ...], headers: tuple[tuple[str, str], ...], **options: Any) -> None:
    """List waiting messages in the order of their times."""
    answer = _listed(_arguments(ids, headers, **options))
    if kept("json"):
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    columns = ("id", "due_at", "vhost", "exchange", "routing_key", "message_id", "bytes", "recurs")
    show_rows(answer["messages"], *columns)
    if answer["next"] is not None:
        due, identity = answer["next"]
        click.echo(f"there may be more: --page {due}:{identity}", err=True)


def _listed(arguments: dict[str, Any]) -> dict[str, Any]:
    """A page reads a bounded number of messages; where they are rare it takes several to fill the limit."""
    limit = arguments.pop("limit")
    answer = perform("delayed list", limit=limit, **arguments)
    messages = answer["messages"]
    while answer["next"] is not None and len(messages) < limit:
        answer = perform("delayed list", **{**arguments, "limit": limit - len(messages), "page": answer["next"]})
        messages += answer["messages"]
    return {"messages": messages, "next": answer["next"]}


@delayed.command("show")
@click.argument("identity", type=int, required=False, metavar="[ID]")
@_which
@common_options
def delayed_show(identity: int | None, headers: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Show one message with its headers and body; it goes on waiting.

    Without ID the first that the options choose.
    """
    ids = () if identity is None else (identity,)
    row = perform("delayed show", **_arguments(ids, headers, **options))
    if kept("json"):
        click.echo(json.dumps(row, ensure_ascii=False, indent=2))
    else:
        shown = {**row, **row["properties"]}
        del shown["properties"]
        show_rows([{"what": key.replace("_", " "), "value": value} for key, value in shown.items()], "what", "value")


@delayed.command("cancel")
@_ids
@_which
@_all
@common_options
def delayed_cancel(ids: tuple[int, ...], headers: tuple[tuple[str, str], ...], all_: bool, **options: Any) -> None:
    """Drop messages; they never come."""
    answer = _repeated("delayed cancel", _arguments(ids, headers, all=all_, **options))
    _show_count(answer, "cancelled")


@delayed.command("reschedule")
@_ids
@_which
@_all
@click.option("--at", type=Time(), metavar="TIME", help="When they are due from now on.")
@click.option("--in", "in_", type=Duration(), metavar="DURATION", help="They are due so long from now: 90s, 15m, 3d.")
@common_options
def delayed_reschedule(
    ids: tuple[int, ...],
    headers: tuple[tuple[str, str], ...],
    all_: bool,
    at: int | None,
    in_: int | None,
    **options: Any,
) -> None:
    """Give messages another time, the same for all."""
    if (at is None) == (in_ is None):
        raise click.UsageError("say when: either --at or --in")
    when = {"in": in_} if at is None else {"at": at}
    answer = _repeated("delayed reschedule", _arguments(ids, headers, all=all_, **when, **options))
    _show_count(answer, "rescheduled")


@delayed.command("fire")
@_ids
@_which
@_all
@common_options
def delayed_fire(ids: tuple[int, ...], headers: tuple[tuple[str, str], ...], all_: bool, **options: Any) -> None:
    """Route messages now. One that recurs comes again at its next time."""
    answer = _repeated("delayed fire", _arguments(ids, headers, all=all_, **options))
    _show_count(answer, "fired")


@delayed.command("stats")
@click.option("--vhost", default=None, metavar="V", help="Of this vhost only.")
@click.option("--exchange", metavar="X", help="Of this exchange only.")
@common_options
def delayed_stats(vhost: str | None, exchange: str | None) -> None:
    """How many messages wait in each exchange, what became of others, and how late they came."""
    rows = perform("delayed stats", vhost=vhost, exchange=exchange)
    columns = ("vhost", "exchange", "type", "waiting", "bytes", "next_due_at", "published", "returned", "dead_lettered")
    show_rows(rows, *columns, "unroutable", "cancelled", "late_p99", "late_max")


def _repeated(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A command that changes a bounded number at once, until it has changed them all."""
    answer = perform(command, **arguments)
    count = answer["count"]
    while answer["next"] is not None:
        if "at" in answer:
            arguments.pop("in", None)
            arguments["at"] = answer["at"]
        answer = perform(command, **{**arguments, "page": answer["next"]})
        count += answer["count"]
    return {**answer, "count": count}


def _show_count(answer: dict[str, Any], what: str) -> None:
    if kept("json"):
        click.echo(json.dumps({"count": answer["count"]}))
    else:
        click.echo(f"messages {what}: {answer['count']}")
