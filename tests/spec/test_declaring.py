"""What declaring checks: what is accepted, and RabbitMQ's words for what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from amqpd.spec.arguments import (
    ALL_TYPES,
    COMPARED,
    MILLISECONDS_MAX,
    QUEUE_ARGUMENTS,
    TYPE_NAMES,
    Argument,
    Typed,
    max_age_ms,
)
from amqpd.spec.declaring import (
    check_equivalent,
    check_equivalent_arguments,
    check_is_text,
    check_new_queue,
    check_queue_arguments,
    check_server_named,
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
        check_new_queue({"x-queue-type": queue_type, name: (kind, value)}, "q", "/", True, False, False)

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
        for kind in ALL_TYPES:
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


# Streams. All texts but that of the filter's size were seen on RabbitMQ 3.10.8.


def stream_refusal(durable: bool = True, exclusive: bool = False, auto_delete: bool = False, **given: Typed) -> str:
    """The text a declare of a stream with these arguments is refused with."""
    arguments: dict[str, Typed] = {"x-queue-type": ("S", b"stream")}
    arguments |= {name.replace("_", "-"): value for name, value in given.items()}
    with pytest.raises(PreconditionFailed) as raised:
        check_new_queue(arguments, "q", "/", durable, exclusive, auto_delete)
    return raised.value.text


@pytest.mark.parametrize(
    "text", ["10", "0s", "00D", "1d", "1H", "1W", "1.5D", "1D ", "1D\n", "1DD", "", "D", "-1D", " 1D", "\u0661D"]
)
def test_an_age_is_a_number_and_its_unit(text: str) -> None:
    assert max_age_ms(text) is None
    assert stream_refusal(x_max_age=("S", text.encode())) == f"invalid arg 'x-max-age' {WHERE}: invalid_max_age"


@pytest.mark.parametrize(
    ("kind", "value", "word"), [("I", 5, "signedint"), ("t", True, "bool"), ("x", b"1D", "binary")]
)
def test_an_age_is_a_text(kind: str, value: object, word: str) -> None:
    assert stream_refusal(x_max_age=(kind, value)) == f"invalid arg 'x-max-age' {WHERE}: {{unacceptable_type,{word}}}"


@pytest.mark.parametrize(
    ("name", "good", "bad", "text"),
    [
        (
            "segment",
            (0, 3_000_000_000),
            (3_000_000_001, 1 << 62),
            "Exceeded max value for x-stream-max-segment-size-bytes",
        ),
        ("filter", (16, 255), (0, 15, 256), "Invalid value for  x-stream-filter-size-bytes"),
    ],
)
def test_sizes_that_are_checked_last(name: str, good: tuple[int, ...], bad: tuple[int, ...], text: str) -> None:
    """After the properties, and with words of their own."""
    argument = {"segment": "x-stream-max-segment-size-bytes", "filter": "x-stream-filter-size-bytes"}[name]
    for size in good:
        given: dict[str, Typed] = {"x-queue-type": ("S", b"stream"), argument: ("l", size)}
        check_new_queue(given, "q", "/", True, False, False)
    for size in bad:
        wrong: dict[str, Any] = {argument: ("l", size)}
        assert stream_refusal(**wrong) == text
        assert stream_refusal(durable=False, **wrong) == f"invalid property 'non-durable' {WHERE}"
    negative: dict[str, Any] = {argument: ("l", -1)}
    assert stream_refusal(**negative) == f"invalid arg '{argument}' {WHERE}: {{value_negative,-1}}"


def test_the_cluster_has_a_node_at_least() -> None:
    text = f"invalid arg 'x-initial-cluster-size' {WHERE}: "
    assert stream_refusal(x_initial_cluster_size=("I", 0)) == text + "{value_zero,0}"
    assert stream_refusal(x_initial_cluster_size=("I", -1)) == text + "{value_negative,-1}"
    assert stream_refusal(x_queue_leader_locator=("S", b"x")).endswith(": invalid_queue_locator_arg")


def test_what_streams_take_and_other_types_do_not_and_the_other_way_round() -> None:
    of_streams = {row.name for row in QUEUE_ARGUMENTS.values() if row.types == ("stream",)}
    assert of_streams == {
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-initial-cluster-size",
    }
    assert {row.name for row in QUEUE_ARGUMENTS.values() if "stream" in row.types} - of_streams == {
        "x-max-length-bytes",
        "x-queue-type",
        "x-queue-leader-locator",
        "x-consumer-timeout",
        "x-quorum-target-group-size",
    }


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_a_replicated_queue_is_durable_shared_and_named_by_its_client(kind: str) -> None:
    arguments: dict[str, Typed] = {"x-queue-type": ("S", kind.encode())}
    with pytest.raises(PreconditionFailed) as named:
        check_server_named(arguments)
    assert named.value.text == f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
    for durable, exclusive, auto_delete, text in (
        (False, True, True, "auto-delete"),
        (False, True, False, "exclusive-owner"),
        (False, False, False, "non-durable"),
    ):
        with pytest.raises(PreconditionFailed) as raised:
            check_new_queue(arguments, "q", "/", durable, exclusive, auto_delete)
        assert raised.value.text == f"invalid property '{text}' {WHERE}"


def test_of_several_faults_the_one_that_rabbitmq_tells_is_told() -> None:
    """The dead-letter exchange, the type, values in the order of the rows, arguments of other types, properties."""
    given: dict[str, Typed] = {
        "x-expires": ("I", 0),
        "x-dead-letter-exchange": ("I", 5),
        "x-initial-cluster-size": ("I", 0),
        "x-max-age": ("S", b"1"),
        "x-queue-type": ("S", b"nope"),
        "x-max-length-bytes": ("I", -1),
        "x-stream-max-segment-size-bytes": ("l", 1 << 40),
    }
    told = []
    for key, good in (
        ("x-dead-letter-exchange", ("S", b"e")),
        ("x-queue-type", ("S", b"stream")),
        ("x-max-length-bytes", ("I", 1)),
        ("x-max-age", ("S", b"1D")),
        ("x-initial-cluster-size", ("I", 1)),
        ("x-expires", None),
        ("x-dead-letter-exchange", None),
    ):
        with pytest.raises(PreconditionFailed) as raised:
            check_new_queue(given, "q", "/", False, False, False)
        told.append((key, key in raised.value.text))
        if good is None:
            assert raised.value.text.endswith(" of queue type rabbit_stream_queue")
            del given[key]
        else:
            given[key] = good
    assert all(as_wanted for _, as_wanted in told), told
    with pytest.raises(PreconditionFailed, match="non-durable"):
        check_new_queue(given, "q", "/", False, False, False)
    with pytest.raises(PreconditionFailed, match="Exceeded max value"):
        check_new_queue(given, "q", "/", True, False, False)


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
    for kind, foreign in (
        ("classic", "x-max-in-memory-length"),
        ("quorum", "x-max-priority"),
        ("classic", "x-max-age"),
    ):
        check_equivalent_arguments(COMPARED[kind], {foreign: ("I", 5)}, {}, "queue", "q", "/")
        assert {"x-max-length", "x-queue-type", "x-delivery-limit"} <= set(COMPARED[kind])
    for foreign in ("x-expires", "x-overflow", "x-stream-filter-size-bytes"):
        check_equivalent_arguments(COMPARED["stream"], {foreign: ("I", 5)}, {}, "queue", "q", "/")


def test_a_stream_is_compared_in_rabbitmqs_order() -> None:
    current: dict[str, Typed] = {
        "x-stream-max-segment-size-bytes": ("I", 500),
        "x-queue-leader-locator": ("S", b"balanced"),
        "x-initial-cluster-size": ("I", 1),
        "x-max-age": ("S", b"1D"),
        "x-queue-type": ("S", b"stream"),
        "x-max-length-bytes": ("I", 1000),
    }
    given: dict[str, Typed] = {}
    told = []
    while given != current:
        with pytest.raises(PreconditionFailed) as raised:
            check_equivalent_arguments(COMPARED["stream"], given, current, "queue", "q", "/")
        told.append(raised.value.text.split("'")[1])
        given[told[-1]] = current[told[-1]]
    assert told == [
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ]
    # Ages are compared as they are written, even one that could not be declared.
    for age in (b"24h", b"foo"):
        assert inequivalence("x-max-age", {"x-max-age": ("S", age)}, current) == (
            f"inequivalent arg 'x-max-age' {WHERE}: received '{age.decode()}' but current is '1D'"
        )


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
