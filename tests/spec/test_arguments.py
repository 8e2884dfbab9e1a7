"""The argument table: what is accepted, and RabbitMQ's words for what is not."""

from __future__ import annotations

import pytest
from hypothesis import given

from amqpd.spec.arguments import (
    BOTH,
    COMPARED,
    FOREIGN_QUEUE_ARGUMENTS,
    MILLISECONDS_MAX,
    QUEUE_ARGUMENTS,
    TYPE_NAMES,
    Argument,
    Typed,
    check_equivalent,
    check_equivalent_arguments,
    check_is_text,
    check_queue_arguments,
    described,
)
from amqpd.spec.errors import PreconditionFailed
from tests.wire.strategies import tables

WHERE = "for queue 'q' in vhost '/'"


def refusal(**arguments: Typed) -> str:
    """The text a declare with these arguments is refused with."""
    with pytest.raises(PreconditionFailed) as raised:
        check_queue_arguments({name.replace("_", "-"): value for name, value in arguments.items()}, "q", "/")
    return raised.value.text


def accept(**arguments: Typed) -> None:
    check_queue_arguments({name.replace("_", "-"): value for name, value in arguments.items()}, "q", "/")


INTEGER_ARGUMENTS = [row for row in QUEUE_ARGUMENTS.values() if row.kind == "int"]


@pytest.mark.parametrize("row", INTEGER_ARGUMENTS, ids=lambda row: row.name)
def test_integers_within_their_bounds_are_accepted_in_any_width(row: Argument) -> None:
    name, minimum, maximum = row.name, row.minimum, row.maximum
    queue_type: Typed = ("S", row.types[0].encode())

    def check(kind: str, value: object) -> None:
        check_queue_arguments({"x-queue-type": queue_type, name: (kind, value)}, "q", "/")

    for kind in "bBsuIilL":
        check(kind, max(minimum, 1))
    check("I", minimum)
    if maximum:
        check("l", maximum)
        with pytest.raises(PreconditionFailed):
            check("l", maximum + 1)
    with pytest.raises(PreconditionFailed):
        check("l", minimum - 1)
    for kind, value in (("S", b"1"), ("t", True), ("d", 1.0), ("T", 1), ("V", None)):
        with pytest.raises(PreconditionFailed, match=f"expected integer, got {TYPE_NAMES[kind]}"):
            check(kind, value)


def test_arguments_of_another_queue_type_are_refused() -> None:
    for row in QUEUE_ARGUMENTS.values():
        for kind in BOTH:
            if kind not in row.types:
                with pytest.raises(PreconditionFailed) as raised:
                    check_queue_arguments({"x-queue-type": ("S", kind.encode()), row.name: ("S", b"x")}, "q", "/")
                assert raised.value.text == f"invalid arg '{row.name}' {WHERE} of queue type rabbit_{kind}_queue"


def test_what_is_wrong_with_a_number() -> None:
    assert refusal(x_expires=("I", 0)) == f"invalid arg 'x-expires' {WHERE}: {{value_zero,0}}"
    assert refusal(x_expires=("I", -1)) == f"invalid arg 'x-expires' {WHERE}: {{value_negative,-1}}"
    above = MILLISECONDS_MAX + 1
    assert refusal(x_message_ttl=("l", above)) == f"invalid arg 'x-message-ttl' {WHERE}: {{value_too_large,{above}}}"
    for value, fault in ((-1, "{value_negative,-1}"), (3, "\"unsupported queue version '3'\"")):
        assert refusal(x_queue_version=("I", value)) == f"invalid arg 'x-queue-version' {WHERE}: {fault}"
    assert refusal(x_max_priority=("I", 256)) == (f"invalid arg 'x-max-priority' {WHERE}: {{max_value_exceeded,256}}")


def test_texts_out_of_a_list() -> None:
    for value in (b"drop-head", b"reject-publish", b"reject-publish-dlx"):
        accept(x_overflow=("S", value))
    assert refusal(x_overflow=("S", b"explode")) == f"invalid arg 'x-overflow' {WHERE}: invalid_overflow"
    assert refusal(x_overflow=("I", 1)) == f"invalid arg 'x-overflow' {WHERE}: {{unacceptable_type,signedint}}"
    accept(x_queue_mode=("S", b"lazy"))
    assert "\"unsupported queue mode 'fast'\"" in refusal(x_queue_mode=("S", b"fast"))


def test_dead_letter_arguments() -> None:
    accept(x_dead_letter_exchange=("S", b""), x_dead_letter_routing_key=("S", b"k"))
    assert refusal(x_dead_letter_routing_key=("S", b"k")) == (
        f"invalid arg 'x-dead-letter-routing-key' {WHERE}: routing_key_but_no_dlx_defined"
    )
    assert refusal(x_dead_letter_exchange=("I", 1)) == (
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    )


def test_single_active_consumer_is_a_boolean() -> None:
    accept(x_single_active_consumer=("t", True))
    assert refusal(x_single_active_consumer=("S", b"true")) == (
        f"invalid arg 'x-single-active-consumer' {WHERE}: {{unacceptable_type,longstr}}"
    )


@pytest.mark.parametrize("name", sorted(FOREIGN_QUEUE_ARGUMENTS))
def test_arguments_of_other_queue_types_are_refused(name: str) -> None:
    with pytest.raises(PreconditionFailed, match=f"invalid arg '{name}' {WHERE} of queue type"):
        check_queue_arguments({name: ("I", 1)}, "q", "/")


@given(tables)
def test_unknown_arguments_are_accepted_whatever_they_hold(table: dict[str, Typed]) -> None:
    check_queue_arguments({f"my-{name}": value for name, value in table.items()}, "q", "/")


@given(tables)
def test_known_arguments_of_any_type_are_accepted_or_refused(table: dict[str, Typed]) -> None:
    """And nothing else: a value of an odd type is the client's fault, not ours."""
    for name in QUEUE_ARGUMENTS:
        for value in table.values():
            try:
                check_queue_arguments({name: value}, "q", "/")
            except PreconditionFailed as error:
                assert name in error.text  # noqa: PT017 - either outcome is right


def test_text_arguments_of_exchanges() -> None:
    check_is_text("alternate-exchange", ("S", b"x"), "exchange", "e", "/")
    with pytest.raises(PreconditionFailed) as raised:
        check_is_text("alternate-exchange", ("t", True), "exchange", "e", "/")
    assert raised.value.text == "invalid type 'bool' for arg 'alternate-exchange' in exchange 'e' in vhost '/'"


# Declaring again.


def inequivalence(key: str, received: dict[str, Typed], current: dict[str, Typed]) -> str:
    with pytest.raises(PreconditionFailed) as raised:
        check_equivalent_arguments([key], received, current, "queue", "q", "/")
    return raised.value.text


def test_the_same_arguments_are_equivalent_in_any_width() -> None:
    known = list(QUEUE_ARGUMENTS)
    one: dict[str, Typed] = {"x-max-length": ("I", 5), "x-overflow": ("S", b"drop-head"), "my": ("I", 1)}
    other: dict[str, Typed] = {"x-max-length": ("l", 5), "x-overflow": ("S", b"drop-head"), "my": ("I", 2)}
    check_equivalent_arguments(known, one, other, "queue", "q", "/")
    check_equivalent_arguments(known, {"x-queue-type": ("S", b"classic")}, {}, "queue", "q", "/")
    check_equivalent_arguments(known, {}, {"x-queue-type": ("S", b"classic")}, "queue", "q", "/")


def test_the_queue_type_is_shown_as_it_was_given() -> None:
    key, classic, quorum = "x-queue-type", ("S", b"classic"), ("S", b"quorum")
    begin = f"inequivalent arg '{key}' {WHERE}: received"
    assert inequivalence(key, {key: quorum}, {key: classic}) == f"{begin} 'quorum' but current is 'classic'"
    assert inequivalence(key, {key: classic}, {key: quorum}) == f"{begin} 'classic' but current is 'quorum'"
    assert inequivalence(key, {}, {key: quorum}) == (
        f"{begin} none but current is the value 'quorum' of type 'longstr'"
    )


def test_arguments_of_other_queue_types_are_not_compared() -> None:
    for kind, foreign in (("classic", "x-max-in-memory-length"), ("quorum", "x-max-priority")):
        check_equivalent_arguments(COMPARED[kind], {foreign: ("I", 5)}, {}, "queue", "q", "/")
        assert {"x-max-length", "x-queue-type", "x-delivery-limit"} <= set(COMPARED[kind])


def test_the_first_difference_is_told_in_rabbitmqs_order() -> None:
    given: dict[str, Typed] = {
        "x-queue-type": ("S", b"quorum"),
        "x-overflow": ("S", b"drop-head"),
        "x-dead-letter-exchange": ("S", b"x"),
        "x-max-length": ("I", 1),
        "x-expires": ("I", 1),
    }
    told = []
    while given:
        with pytest.raises(PreconditionFailed) as raised:
            check_equivalent_arguments(COMPARED["classic"], given, {}, "queue", "q", "/")
        told.append(raised.value.text.split("'")[1])
        del given[told[-1]]
    assert told == ["x-expires", "x-dead-letter-exchange", "x-max-length", "x-overflow", "x-queue-type"]


def test_differences_are_named() -> None:
    key = "x-max-length"
    begin = f"inequivalent arg '{key}' {WHERE}: received"
    assert inequivalence(key, {key: ("I", 5)}, {key: ("I", 6)}) == f"{begin} '5' but current is '6'"
    assert inequivalence(key, {key: ("I", 5)}, {}) == (f"{begin} the value '5' of type 'signedint' but current is none")
    assert inequivalence(key, {}, {key: ("l", 5)}) == (f"{begin} none but current is the value '5' of type 'long'")


def test_a_boolean_or_a_float_is_no_integer() -> None:
    key = "x-single-active-consumer"
    assert inequivalence(key, {key: ("t", True)}, {key: ("I", 1)})
    assert inequivalence("x-max-length", {"x-max-length": ("d", 5.0)}, {"x-max-length": ("I", 5)}) == (
        f"inequivalent arg 'x-max-length' {WHERE}: received '5.0' but current is '5'"
    )


def test_properties_that_differ_are_named() -> None:
    check_equivalent("durable", True, True, "queue", "q", "/")
    with pytest.raises(PreconditionFailed) as raised:
        check_equivalent("durable", False, True, "queue", "q", "/")
    assert raised.value.text == (f"inequivalent arg 'durable' {WHERE}: received 'false' but current is 'true'")


def test_values_as_rabbitmq_writes_them() -> None:
    assert [described(value) for value in (True, False, b"text", b"\xff", 5, 1.5)] == [
        "true",
        "false",
        "text",
        "\ufffd",
        "5",
        "1.5",
    ]
