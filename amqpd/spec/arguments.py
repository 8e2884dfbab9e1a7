"""Every ``x-`` argument the broker knows, one row each; validation and redeclare checks read the rows.

A value is a (type octet, value) pair, as a field table holds it. Error texts are RabbitMQ 3.10.8's, seen live
(interop/conformance/test_queue.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from amqpd.spec.errors import PreconditionFailed

Typed = tuple[str, object]

INT: Final = "int"
TEXT: Final = "longstr"
BOOL: Final = "bool"
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
BOTH: Final = (CLASSIC, QUORUM)


class Argument(NamedTuple):
    """One argument.

    ``maximum`` 0 means none. ``values``: the only texts allowed, empty for any. ``refusal``: RabbitMQ's words for
    a text outside ``values``, with ``{}`` for the text. ``above``: its word for a number above ``maximum``.
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
    needs: str = ""
    types: tuple[str, ...] = BOTH
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
            policy="maximum length in bytes",
            operator=True,
            merge=LEAST,
            doc="Most octets of ready bodies the queue keeps.",
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
            values=(CLASSIC, QUORUM),
            refusal="\"unsupported queue type '{}'\"",
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
            types=(QUORUM,),
            doc="Accepted and without effect: there is one node.",
        ),
        Argument(
            "x-queue-leader-locator",
            TEXT,
            values=LOCATORS,
            refusal="invalid_queue_locator_arg",
            policy="queue leader locator value",
            doc="Accepted and without effect: there is one node.",
        ),
    )
}

# Arguments of streams, which there are not: refused rather than ignored, as RabbitMQ does on other queue types.
FOREIGN_QUEUE_ARGUMENTS: Final = frozenset(
    (
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-initial-cluster-size",
    )
)

# Queue types that RabbitMQ replicates between nodes: always durable and shared.
REPLICATED_TYPES: Final = frozenset(("quorum", "stream"))

# What declaring a queue again compares, by the queue's type. Arguments of other types, which a first declare would
# refuse, are not looked at (RabbitMQ 3.10.8, seen).
COMPARED: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(row.name for row in QUEUE_ARGUMENTS.values() if kind in row.types) for kind in BOTH
}

# The only exchange argument that redeclaring compares.
ALTERNATE_EXCHANGE: Final = "alternate-exchange"

# RabbitMQ checks these two with other words than the rest.
_TYPE_CHECKED: Final = frozenset(("x-dead-letter-exchange", ALTERNATE_EXCHANGE))


def described(value: object) -> str:
    """A value as RabbitMQ writes it between quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def check_queue_arguments(arguments: Mapping[str, Typed], name: str, vhost: str) -> None:
    """Raises PreconditionFailed (406, closes the channel) on the first argument that will not do."""
    kind = queue_type(arguments)
    for key, value in arguments.items():
        row = QUEUE_ARGUMENTS.get(key)
        if key in FOREIGN_QUEUE_ARGUMENTS or (row is not None and kind in BOTH and kind not in row.types):
            raise PreconditionFailed(
                f"invalid arg '{key}' for queue '{name}' in vhost '{vhost}' of queue type rabbit_{kind}_queue"
            )
        if row is None:
            continue
        if key in _TYPE_CHECKED:
            check_is_text(key, value, "queue", name, vhost)
            continue
        fault = _fault(row, value)
        if not fault and row.needs and row.needs not in arguments:
            fault = row.refusal
        if fault:
            raise PreconditionFailed(f"invalid arg '{key}' for queue '{name}' in vhost '{vhost}': {fault}")


def queue_type(arguments: Mapping[str, Typed]) -> str:
    """What x-queue-type says; classic without it."""
    kind = arguments.get("x-queue-type")
    return described(kind[1]) if kind is not None else CLASSIC


def check_server_named(arguments: Mapping[str, Typed]) -> None:
    """Raises PreconditionFailed (406) where a queue of this type must be named by the client."""
    kind = _replicated_type(arguments)
    if kind:
        raise PreconditionFailed(f"Cannot declare a server-named queue for type rabbit_{kind}_queue")


def check_replicated(
    arguments: Mapping[str, Typed], name: str, vhost: str, durable: bool, exclusive: bool, auto_delete: bool
) -> None:
    """Raises PreconditionFailed (406) on a replicated queue that is to be transient or somebody's own."""
    if not _replicated_type(arguments):
        return
    for wrong, text in (
        (auto_delete, "auto-delete"),
        (exclusive, "exclusive-owner"),
        (not durable, "non-durable"),
    ):
        if wrong:
            raise PreconditionFailed(f"invalid property '{text}' for queue '{name}' in vhost '{vhost}'")


def _replicated_type(arguments: Mapping[str, Typed]) -> str:
    """``quorum`` or ``stream``; empty for any other type."""
    kind = queue_type(arguments)
    return kind if kind in REPLICATED_TYPES else ""


def check_is_text(key: str, value: Typed, what: str, name: str, vhost: str) -> None:
    """Raises PreconditionFailed unless ``value`` is a longstr."""
    if value[0] != "S":
        kind = TYPE_NAMES[value[0]]
        raise PreconditionFailed(f"invalid type '{kind}' for arg '{key}' in {what} '{name}' in vhost '{vhost}'")


def _fault(row: Argument, typed: Typed) -> str:
    """RabbitMQ's words for what is wrong with a value; empty when nothing is."""
    kind, value = typed
    if row.kind == ANY:
        return ""
    if row.kind == INT:
        return _integer_fault(row, kind, value)
    if row.kind == BOOL:
        return "" if kind == "t" else f"{{unacceptable_type,{TYPE_NAMES[kind]}}}"
    if kind != "S":
        return f"{{unacceptable_type,{TYPE_NAMES[kind]}}}"
    text = described(value)
    if row.values and text not in row.values:
        return row.refusal.format(text)
    return ""


def _integer_fault(row: Argument, kind: str, value: object) -> str:
    if kind not in INTEGER_TYPES or not isinstance(value, int):
        return f'"expected integer, got {TYPE_NAMES[kind]}"'
    if value < min(row.minimum, 0):
        return f"{{value_negative,{value}}}"
    if row.name == "x-queue-version" and value not in (1, 2):
        return f"\"unsupported queue version '{value}'\""
    if value < row.minimum:
        return f"{{value_zero,{value}}}"
    if row.maximum and value > row.maximum:
        return f"{{{row.above},{value}}}"
    return ""


def check_equivalent_arguments(
    known: Iterable[str],
    received: Mapping[str, Typed],
    current: Mapping[str, Typed],
    what: str,
    name: str,
    vhost: str,
) -> None:
    """Raises PreconditionFailed (406) when a known argument differs; integers compare by value.

    ``known``: of a queue ``COMPARED``, by its type. ``x-queue-type=classic`` equals its absence.
    """
    for key in known:
        new, old = received.get(key), current.get(key)
        if _same(new, old) or (key == "x-queue-type" and queue_type(received) == queue_type(current) == CLASSIC):
            continue
        raise PreconditionFailed(
            f"inequivalent arg '{key}' for {what} '{name}' in vhost '{vhost}': {_difference(new, old)}"
        )


def _same(new: Typed | None, old: Typed | None) -> bool:
    if new is None or old is None:
        return new is old
    return type(new[1]) is type(old[1]) and new[1] == old[1]


def _difference(new: Typed | None, old: Typed | None) -> str:
    if new is not None and old is not None:
        return f"received '{described(new[1])}' but current is '{described(old[1])}'"
    return f"received {_valued(new)} but current is {_valued(old)}"


def _valued(typed: Typed | None) -> str:
    if typed is None:
        return "none"
    return f"the value '{described(typed[1])}' of type '{TYPE_NAMES[typed[0]]}'"


def check_equivalent(key: str, received: object, current: object, what: str, name: str, vhost: str) -> None:
    """Raises PreconditionFailed (406) when a property of an existing object differs."""
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{key}' for {what} '{name}' in vhost '{vhost}': "
            f"received '{described(received)}' but current is '{described(current)}'"
        )
