"""Every ``x-`` argument the broker knows, one row each: amqpd/spec/declaring.py, policies and the manual read them.

A value is a (type octet, value) pair, as a field table holds it. Error texts are RabbitMQ 3.10.8's, seen live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

Typed = tuple[str, object]

INT: Final = "int"
TEXT: Final = "longstr"
BOOL: Final = "bool"
AGE: Final = "age"
ANY: Final = "any"

MILLISECONDS_MAX: Final = 315_360_000_000  # ten years; RabbitMQ's limit of every duration

# Erlang's names of field types: they stand in RabbitMQ's error texts.
TYPE_NAMES: Final[dict[str, str]] = {
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "I": "signedint",
    "i": "unsignedint",
    "l": "long",
    "L": "long",
    "f": "float",
    "d": "double",
    "D": "decimal",
    "S": "longstr",
    "t": "bool",
    "T": "timestamp",
    "A": "array",
    "F": "table",
    "V": "void",
    "x": "binary",
}
INTEGER_TYPES: Final = frozenset("bBsuIilL")


# How an argument, a policy and an operator policy that say the same thing come together. An operator policy goes
# before the policy except where the smaller one counts.
FIRST: Final = "the argument wins"
LEAST: Final = "the smallest number wins"
LIMIT: Final = "the smallest number wins, a negative one is no limit"

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
ALL_TYPES: Final = (CLASSIC, QUORUM, STREAM)
NO_STREAM: Final = (CLASSIC, QUORUM)


class Argument(NamedTuple):
    """One argument.

    ``maximum`` 0 means none. ``values``: the only texts allowed, empty for any. ``refusal``: RabbitMQ's words for
    a text outside ``values``, with ``{}`` for the text. ``above``: its word for a number above ``maximum``.
    ``outside``: its whole sentence for a number outside ``minimum`` and ``maximum``, where it looks at these last.
    ``types``: the queue types that take it.
    ``policy``: what a policy's validation calls it; empty where it cannot come by policy. A policy's key is the
    name without ``x-``. ``operator``: operator policies may set it, too. ``merge``: FIRST, LEAST or LIMIT.
    """

    name: str
    kind: str
    minimum: int = 0
    maximum: int = 0
    values: tuple[str, ...] = ()
    refusal: str = ""
    above: str = "value_too_large"
    outside: str = ""
    needs: str = ""
    types: tuple[str, ...] = NO_STREAM
    policy: str = ""
    operator: bool = False
    merge: str = FIRST
    doc: str = ""

    @property
    def key(self) -> str:
        """Its name in policies and settings."""
        return self.name[2:]


LOCATORS: Final = ("client-local", "balanced", "random", "least-leaders")

# In RabbitMQ's order: of several differences at a second declare, the first one is told.
QUEUE_ARGUMENTS: Final[dict[str, Argument]] = {
    row.name: row
    for row in (
        Argument(
            "x-expires",
            INT,
            1,
            MILLISECONDS_MAX,
            policy="queue expiry",
            operator=True,
            merge=LEAST,
            doc="Delete the queue when unused for this long, ms.",
        ),
        Argument(
            "x-message-ttl",
            INT,
            0,
            MILLISECONDS_MAX,
            policy="message TTL",
            operator=True,
            merge=LEAST,
            doc="Longest stay of a message, ms.",
        ),
        Argument("x-dead-letter-exchange", TEXT, policy="dead letter exchange name", doc="Where dead letters go."),
        Argument(
            "x-dead-letter-routing-key",
            TEXT,
            needs="x-dead-letter-exchange",
            refusal="routing_key_but_no_dlx_defined",
            policy="dead letter routing key",
            doc="Their routing key, instead of their own.",
        ),
        Argument(
            "x-dead-letter-strategy",
            TEXT,
            values=("at-most-once", "at-least-once"),
            refusal="invalid_dlx_strategy",
            policy="dead letter strategy",
            doc="at-least-once keeps a dead letter that nobody takes (with x-overflow=reject-publish).",
        ),
        Argument(
            "x-max-length",
            INT,
            policy="maximum length",
            operator=True,
            merge=LEAST,
            doc="Most ready messages the queue keeps.",
        ),
        Argument(
            "x-max-length-bytes",
            INT,
            types=ALL_TYPES,
            policy="maximum length in bytes",
            operator=True,
            merge=LEAST,
            doc="Most octets of ready bodies the queue keeps; the least that is left of a stream.",
        ),
        Argument(
            "x-max-in-memory-length",
            INT,
            types=(QUORUM,),
            policy="maximum memory in bytes",
            operator=True,
            merge=LEAST,
            doc="Accepted and without effect: every queue pages.",
        ),
        Argument(
            "x-max-in-memory-bytes",
            INT,
            types=(QUORUM,),
            policy="maximum memory in bytes",
            operator=True,
            merge=LEAST,
            doc="Accepted and without effect: every queue pages.",
        ),
        Argument(
            "x-max-priority",
            INT,
            0,
            255,
            above="max_value_exceeded",
            types=(CLASSIC,),
            doc="The highest priority. A quorum queue has 31 without it.",
        ),
        Argument(
            "x-overflow",
            TEXT,
            values=("drop-head", "reject-publish", "reject-publish-dlx"),
            refusal="invalid_overflow",
            policy="overflow value",
            operator=True,
            doc="What a full queue does.",
        ),
        Argument(
            "x-queue-mode",
            TEXT,
            values=("default", "lazy"),
            refusal="\"unsupported queue mode '{}'\"",
            types=(CLASSIC,),
            policy="queue-mode value",
            doc="Accepted and without effect: every queue pages.",
        ),
        Argument(
            "x-queue-version",
            INT,
            1,
            2,
            types=(CLASSIC,),
            policy="queue-version value",
            operator=True,
            doc="Accepted and without effect.",
        ),
        Argument("x-single-active-consumer", BOOL, doc="One consumer at a time."),
        Argument(
            "x-queue-type",
            TEXT,
            values=ALL_TYPES,
            refusal="\"unsupported queue type '{}'\"",
            types=ALL_TYPES,
            doc="The queue's type.",
        ),
        Argument(
            "x-queue-master-locator",
            ANY,
            types=(CLASSIC,),
            doc="Accepted and without effect: there is one node.",
        ),
        Argument(
            "x-delivery-limit",
            INT,
            -1,
            policy="delivery limit",
            operator=True,
            merge=LIMIT,
            doc="How often a message may come back before it is dead; -1 is no limit. 20 on a quorum queue without it. "
            "RabbitMQ takes it on quorum queues only.",
        ),
        Argument(
            "x-delayed-retry-type",
            TEXT,
            values=("disabled", "all", "failed", "returned"),
            refusal="invalid_delayed_retry_type",
            policy="delayed retry type",
            doc="Which messages wait before they are delivered again (RabbitMQ 4.3; there on quorum queues only).",
        ),
        Argument(
            "x-delayed-retry-min",
            INT,
            0,
            MILLISECONDS_MAX,
            policy="delayed retry minimum",
            doc="The first of these waits, ms; the next ones are its multiples.",
        ),
        Argument(
            "x-delayed-retry-max",
            INT,
            0,
            MILLISECONDS_MAX,
            policy="delayed retry maximum",
            doc="The longest of these waits, ms.",
        ),
        Argument(
            "x-consumer-timeout",
            INT,
            0,
            MILLISECONDS_MAX,
            types=ALL_TYPES,
            policy="consumer timeout",
            merge=LEAST,
            doc="How long a delivery may stay unacknowledged, ms.",
        ),
        Argument(
            "x-quorum-initial-group-size",
            INT,
            1,
            types=(QUORUM,),
            doc="Accepted and without effect: there is one node.",
        ),
        Argument(
            "x-quorum-target-group-size",
            INT,
            1,
            types=(QUORUM, STREAM),
            doc="Accepted and without effect: there is one node.",
        ),
        Argument(
            "x-max-age",
            AGE,
            refusal="invalid_max_age",
            types=(STREAM,),
            policy="max age",
            doc="Longest stay of a message: a number and one of `Y`, `M`, `D`, `h`, `m`, `s`, as in `7D`.",
        ),
        Argument(
            "x-stream-max-segment-size-bytes",
            INT,
            0,
            3_000_000_000,
            outside="Exceeded max value for x-stream-max-segment-size-bytes",
            types=(STREAM,),
            policy="segment size",
            doc="How far a stream may go beyond x-max-length-bytes before its oldest chunks go.",
        ),
        Argument(
            "x-stream-filter-size-bytes",
            INT,
            16,
            255,
            outside="Invalid value for  x-stream-filter-size-bytes",
            types=(STREAM,),
            policy="filter size. Valid range is 16-255",
            doc="Accepted and without effect: filters are exact.",
        ),
        Argument(
            "x-initial-cluster-size",
            INT,
            1,
            types=(STREAM,),
            policy="cluster size",
            doc="Accepted and without effect: there is one node.",
        ),
        Argument(
            "x-queue-leader-locator",
            TEXT,
            values=LOCATORS,
            refusal="invalid_queue_locator_arg",
            types=ALL_TYPES,
            policy="queue leader locator value",
            doc="Accepted and without effect: there is one node.",
        ),
    )
}

# Queue types that RabbitMQ replicates between nodes: always durable and shared.
REPLICATED_TYPES: Final = frozenset((QUORUM, STREAM))

ROWS: Final[dict[str, tuple[Argument, ...]]] = {
    kind: tuple(row for row in QUEUE_ARGUMENTS.values() if kind in row.types) for kind in ALL_TYPES
}

# What declaring a queue again compares, by the queue's type. Arguments of other types, which a first declare would
# refuse, are not looked at, nor are these of a stream (RabbitMQ 3.10.8, seen, and for filters 3.13).
_NOT_COMPARED: Final = frozenset(((STREAM, "x-stream-filter-size-bytes"), (STREAM, "x-quorum-target-group-size")))
COMPARED: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(row.name for row in rows if (kind, row.name) not in _NOT_COMPARED) for kind, rows in ROWS.items()
}

UNIT_MS: Final[dict[str, int]] = {
    "Y": 365 * 86_400_000,
    "M": 30 * 86_400_000,
    "D": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
}
# RabbitMQ takes a number of any length; added to a time, this one still fits into 64 bits.
AGE_MS_MAX: Final = 1 << 62
_AGE: Final = re.compile("([0-9]+)([YMDhms])")

# The only exchange argument that redeclaring compares.
ALTERNATE_EXCHANGE: Final = "alternate-exchange"

DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"

# Of consumers: where to begin in a stream. Of what a stream delivers, a header: where a message lies.
STREAM_OFFSET: Final = "x-stream-offset"


def described(value: object) -> str:
    """A value as RabbitMQ writes it between quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def max_age_ms(text: str) -> int | None:
    """An age such as ``7D`` in milliseconds, at most AGE_MS_MAX; None for a text that is none."""
    found = _AGE.fullmatch(text)
    if found is None:
        return None
    count = found[1].lstrip("0")
    if len(count) > 20:
        return AGE_MS_MAX  # Python refuses to read a number of thousands of digits
    return min(int(count) * UNIT_MS[found[2]], AGE_MS_MAX) if count else None


def queue_type(arguments: Mapping[str, Typed]) -> str:
    """What x-queue-type says; classic without it."""
    kind = arguments.get("x-queue-type")
    return described(kind[1]) if kind is not None else CLASSIC
