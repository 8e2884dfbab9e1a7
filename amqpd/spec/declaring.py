"""What declaring checks: the arguments and properties of a queue, and whether it was declared the same before.

All raise PreconditionFailed (406), which closes the channel, with RabbitMQ 3.10.8's texts and in its order: of several
faults the same one is told (interop/conformance/test_queue.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amqpd.spec.arguments import (
    AGE,
    ANY,
    BOOL,
    CLASSIC,
    DEAD_LETTER_EXCHANGE,
    INT,
    INTEGER_TYPES,
    QUEUE_ARGUMENTS,
    REPLICATED_TYPES,
    ROWS,
    TYPE_NAMES,
    Argument,
    Typed,
    described,
    max_age_ms,
    queue_type,
)
from amqpd.spec.errors import PreconditionFailed


def check_new_queue(
    arguments: Mapping[str, Typed], name: str, vhost: str, durable: bool, exclusive: bool, auto_delete: bool
) -> None:
    """Raises PreconditionFailed (406, closes the channel) on arguments or properties that will not do."""
    check_queue_arguments(arguments, name, vhost)
    kind = _replicated_type(arguments)
    if not kind:
        return
    for wrong, text in (
        (auto_delete, "auto-delete"),
        (exclusive, "exclusive-owner"),
        (not durable, "non-durable"),
    ):
        if wrong:
            raise PreconditionFailed(f"invalid property '{text}' for queue '{name}' in vhost '{vhost}'")
    for row in ROWS[kind]:
        if row.outside and row.name in arguments:
            number = arguments[row.name][1]
            if isinstance(number, int) and not row.minimum <= number <= row.maximum:
                raise PreconditionFailed(row.outside)


def check_queue_arguments(arguments: Mapping[str, Typed], name: str, vhost: str) -> None:
    """Raises PreconditionFailed (406, closes the channel) on the first argument that will not do."""
    check_dead_letter_exchange(arguments, name, vhost)
    _check_value(QUEUE_ARGUMENTS["x-queue-type"], arguments, name, vhost)
    kind = queue_type(arguments)
    for row in ROWS[kind]:
        _check_value(row, arguments, name, vhost)
    for key in arguments:
        known = QUEUE_ARGUMENTS.get(key)
        if known is not None and kind not in known.types:
            raise of_another_type(key, name, vhost, kind)


def invalid_argument(argument: str, name: str, vhost: str, fault: str) -> PreconditionFailed:
    """To be raised: ``argument`` of a queue, or of a consumer of it, will not do; ``fault`` says why."""
    return PreconditionFailed(f"invalid arg '{argument}' for queue '{name}' in vhost '{vhost}': {fault}")


def of_another_type(argument: str, name: str, vhost: str, kind: str) -> PreconditionFailed:
    """To be raised: queues of type ``kind`` and their consumers do not take ``argument``."""
    return PreconditionFailed(
        f"invalid arg '{argument}' for queue '{name}' in vhost '{vhost}' of queue type rabbit_{kind}_queue"
    )


def check_dead_letter_exchange(arguments: Mapping[str, Typed], name: str, vhost: str) -> None:
    """Raises PreconditionFailed unless it is a longstr, or not there; the first thing that RabbitMQ looks at."""
    value = arguments.get(DEAD_LETTER_EXCHANGE)
    if value is not None:
        check_is_text(DEAD_LETTER_EXCHANGE, value, "queue", name, vhost)


def _check_value(row: Argument, arguments: Mapping[str, Typed], name: str, vhost: str) -> None:
    value = arguments.get(row.name)
    if value is None:
        return
    fault = _fault(row, value)
    if not fault and row.needs and row.needs not in arguments:
        fault = row.refusal
    if fault:
        raise invalid_argument(row.name, name, vhost, fault)


def check_server_named(arguments: Mapping[str, Typed]) -> None:
    """Raises PreconditionFailed (406) where a queue of this type must be named by the client."""
    kind = _replicated_type(arguments)
    if kind:
        raise PreconditionFailed(f"Cannot declare a server-named queue for type rabbit_{kind}_queue")


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
    if row.kind == AGE and max_age_ms(text) is None:
        return row.refusal
    return ""


def _integer_fault(row: Argument, kind: str, value: object) -> str:
    if kind not in INTEGER_TYPES or not isinstance(value, int):
        return f'"expected integer, got {TYPE_NAMES[kind]}"'
    if value < min(row.minimum, 0):
        return f"{{value_negative,{value}}}"
    if row.name == "x-queue-version" and value not in (1, 2):
        return f"\"unsupported queue version '{value}'\""
    if row.outside:
        return ""
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
