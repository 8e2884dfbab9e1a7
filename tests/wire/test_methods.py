"""Method arguments: read and written as pamqp reads and writes them."""

from __future__ import annotations

import struct

import pamqp.base
import pamqp.commands
import pamqp.frame
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.spec import constants
from amqpd.spec.errors import FrameError
from amqpd.wire.basic import address, publish_fields, settlement_tag
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.table import Field, Table, encode_table, longstr, plain
from tests.wire.strategies import tables

# Every method pamqp knows, which is the basic set with RabbitMQ's extensions.
METHODS: list[type[pamqp.base.Frame]] = [method for _, method in sorted(pamqp.commands.INDEX_MAPPING.items())]
NUMBERS = {"octet": 8, "short": 16, "long": 32, "longlong": 64}
SAMPLES: Table = {"x-max-length": Field("I", 100_000), "t": Field("F", {"a": longstr("b")})}
TEXT = st.text("abc-_.:", max_size=40)


def attributes(method: type[pamqp.base.Frame]) -> list[tuple[str, str]]:
    """Name and type of each argument, in order."""
    return [(name, method.amqp_type(name)) for name in method.attributes()]


@st.composite
def arguments(draw: st.DrawFn, method: type[pamqp.base.Frame]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, kind in attributes(method):
        if kind == "bit":
            values[name] = draw(st.booleans())
        elif kind == "table":
            values[name] = {key: plain(field) for key, field in SAMPLES.items()} if draw(st.booleans()) else {}
        elif kind in NUMBERS:
            # pamqp writes no number with the highest bit of 64.
            values[name] = draw(st.integers(0, (1 << min(NUMBERS[kind], 63)) - 1))
        else:
            values[name] = draw(TEXT)
    return values


def filled(method: type[pamqp.base.Frame], values: dict[str, object]) -> pamqp.base.Frame:
    """A frame object with these arguments; set one by one, for some may not be given when it is made."""
    frame = method()
    for name, value in values.items():
        setattr(frame, name, value)
    return frame


def marshalled(frame: pamqp.base.Frame) -> bytes:
    """The frame's arguments as pamqp encodes them, without its opinion on names (trap T1)."""
    frame.validate = lambda: None  # type: ignore[method-assign]
    return frame.marshal()


def written(frame: pamqp.base.Frame) -> bytes:
    """The same frame as the broker writes it."""
    writer = MethodWriter(frame.index)
    bits, count = 0, 0
    for name, kind in attributes(type(frame)):
        value = getattr(frame, name)
        if kind == "bit":
            bits |= bool(value) << count
            count += 1
            continue
        if count:
            writer.octet(bits)
            bits, count = 0, 0
        if kind == "table":
            writer.table(SAMPLES if value else {})
        elif kind == "longstr":
            writer.longstr(value.encode())
        elif kind == "shortstr":
            writer.shortstr(value)
        else:
            write = {
                "octet": writer.octet,
                "short": writer.short,
                "long": writer.long,
                "longlong": writer.longlong,
            }
            write[kind](value)
    if count:
        writer.octet(bits)
    return writer.frame(7)


def payload(frame: bytes) -> bytes:
    kind, channel, size = struct.unpack_from(">BHI", frame)
    assert (kind, channel, len(frame), frame[-1]) == (1, 7, size + 8, 0xCE)
    return frame[7:-1]


@pytest.mark.filterwarnings("ignore:This command is deprecated:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_methods_are_written_as_pamqp_reads_them(method: type[pamqp.base.Frame], data: st.DataObject) -> None:
    values = data.draw(arguments(method))
    octets = written(filled(method, values))
    count, channel, read = pamqp.frame.unmarshal(octets)
    assert (count, channel) == (len(octets), 7)
    assert isinstance(read, pamqp.base.Frame)
    for name, value in values.items():
        assert getattr(read, name) == value, name


@pytest.mark.filterwarnings("ignore:This command is deprecated:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_methods_are_read_as_pamqp_writes_them(method: type[pamqp.base.Frame], data: st.DataObject) -> None:
    values = data.draw(arguments(method))
    octets = marshalled(filled(method, values))
    reader = ArgumentReader(method.index, octets)
    bit, bits = 8, 0
    for name, kind in attributes(method):
        if kind == "bit":
            if bit == 8:
                bit, bits = 0, reader.octet()
            assert bool(bits & 1 << bit) == values[name], name
            bit += 1
            continue
        bit = 8
        if kind == "table":
            assert {key: plain(field) for key, field in reader.table().items()} == values[name], name
        elif kind == "longstr":
            assert reader.longstr().decode() == values[name], name
        else:
            assert getattr(reader, kind)() == values[name], name
    assert reader.at == len(octets)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_arguments_cut_short_anywhere_are_refused_with_the_methods_ids(
    method: type[pamqp.base.Frame],
) -> None:
    kinds = ["octet" if kind == "bit" else kind for _, kind in attributes(method)]
    writer = MethodWriter(method.index)
    for kind in kinds:
        value = {"shortstr": "abc", "longstr": b"abc", "table": SAMPLES}.get(kind, 1)
        getattr(writer, kind)(value)
    octets = payload(writer.frame(7))[4:]

    def read_all(given_octets: bytes) -> None:
        reader = ArgumentReader(method.index, given_octets)
        for kind in kinds:
            getattr(reader, kind)()

    read_all(octets)
    for end in range(len(octets)):
        with pytest.raises(FrameError, match="cannot decode <<") as raised:
            read_all(octets[:end])
        assert raised.value.method == method.index


def test_method_ids_are_those_of_pamqp() -> None:
    assert len(METHODS) > 60
    for kind in METHODS:
        ours = [key for key, value in vars(constants).items() if value == kind.index]
        assert [key.replace("_", "") for key in ours] == [kind.name.replace(".", "").upper()]


@given(st.binary(max_size=120))
def test_garbage_arguments_raise_frame_error_and_nothing_else(garbage: bytes) -> None:
    for kind in ("octet", "short", "long", "longlong", "shortstr", "longstr", "table"):
        reader = ArgumentReader(constants.QUEUE_DECLARE, garbage)
        try:
            while reader.at < len(garbage):
                getattr(reader, kind)()
        except FrameError:
            pass


@given(tables)
def test_tables_survive_as_arguments(table: Table) -> None:
    frame = MethodWriter(constants.QUEUE_BIND).table(table).octet(5).frame(7)
    reader = ArgumentReader(constants.QUEUE_BIND, payload(frame)[4:])
    assert encode_table(reader.table()) == encode_table(table)
    assert reader.octet() == 5


def test_numbers_keep_their_edges() -> None:
    frame = MethodWriter(1).octet(255).short(65535).long((1 << 32) - 1).longlong((1 << 64) - 1).frame(65535)
    assert frame[1:3] == b"\xff\xff"
    reader = ArgumentReader(1, frame[11:-1])
    assert (reader.octet(), reader.short()) == (255, 65535)
    assert (reader.long(), reader.longlong()) == ((1 << 32) - 1, (1 << 64) - 1)


def test_a_shortstr_that_is_not_utf8_is_refused_without_ids() -> None:
    with pytest.raises(FrameError, match="Malformed UTF-8 in shortstr") as raised:
        ArgumentReader(constants.QUEUE_DECLARE, b"\x02\xff\xfe").shortstr()
    assert raised.value.method == 0


@given(st.text(min_size=80, max_size=300))
def test_a_long_text_is_cut_to_a_shortstr_between_characters(text: str) -> None:
    octets = payload(MethodWriter(1).shortstr(text).frame(7))[4:]
    assert octets[0] == len(octets) - 1 <= 255
    kept = octets[1:].decode()
    assert text.startswith(kept)
    assert kept == text or len(octets) > 252


def test_the_text_of_an_undecodable_method_shows_its_octets() -> None:
    with pytest.raises(FrameError) as raised:
        ArgumentReader(constants.BASIC_QOS, bytes(range(100))).longstr()
    shown = ",".join(str(octet) for octet in range(80))
    assert raised.value.text == f"cannot decode <<{shown}>>"
    assert len(raised.value.reply_text) <= 255


# The hot methods.

NAMES = st.text(max_size=80).filter(lambda name: len(name.encode()) <= 255)


@given(NAMES, NAMES, st.integers(0, 3))
def test_publish_is_read_as_written(exchange: str, routing_key: str, bits: int) -> None:
    octets = payload(
        MethodWriter(constants.BASIC_PUBLISH).short(0).shortstr(exchange).shortstr(routing_key).octet(bits).frame(7)
    )[4:]
    assert publish_fields(octets) == (exchange, routing_key, bits, address(exchange, routing_key))
    for end in range(len(octets)):
        with pytest.raises(FrameError, match="cannot decode <<") as raised:
            publish_fields(octets[:end])
        assert raised.value.method == constants.BASIC_PUBLISH


@given(st.binary(max_size=40))
def test_garbage_publishes_raise_frame_error_and_nothing_else(garbage: bytes) -> None:
    try:
        exchange, routing_key, _, wire = publish_fields(garbage)
    except FrameError:
        return
    assert wire == address(exchange, routing_key)


def test_a_publish_with_a_name_that_is_not_utf8_is_refused_without_ids() -> None:
    for octets in (b"\0\0\x01\xff\x00\x00", b"\0\0\x00\x01\xff\x00"):
        with pytest.raises(FrameError, match="Malformed UTF-8") as raised:
            publish_fields(octets)
        assert raised.value.method == 0


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=20), st.binary(max_size=20))
def test_a_settlement_is_read_where_it_lies(tag: int, before: bytes, after: bytes) -> None:
    octets = tag.to_bytes(8) + b"\x01"
    buffer = before + octets + after
    start, end = len(before), len(before) + len(octets)
    assert settlement_tag(constants.BASIC_ACK, buffer, start, end) == tag
    for short in range(start, end):
        with pytest.raises(FrameError, match="cannot decode <<") as raised:
            settlement_tag(constants.BASIC_NACK, buffer, start, short)
        assert raised.value.method == constants.BASIC_NACK
