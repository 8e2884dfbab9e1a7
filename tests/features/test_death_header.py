"""x-death and its companions, on header tables without a broker."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.features.death_header import (
    DEATHS_BYTES_MAX,
    KEYS_BYTES_MAX,
    ClientDeaths,
    Death,
    closes_cycle,
    spends_cc,
    with_death,
)
from amqpd.wire.content import ContentHeader, header_from_properties
from amqpd.wire.table import Field, Table, encode_table, longstr, plain
from tests.wire.strategies import same_table, tables

SECONDS = 1_700_000_000


def header(table: Table | None = None, expiration: bytes = b"") -> ContentHeader:
    """A persistent one with content type, priority and message id around what matters."""
    flags = 0x8000 | 0x1000 | 0x0800 | 0x0080
    properties = b"\x04text"
    if table is not None:
        flags |= 0x2000
        properties += struct.pack(">I", len(encode_table(table))) + encode_table(table)
    properties += b"\x02\x05"
    if expiration:
        flags |= 0x0100
        properties += bytes([len(expiration)]) + expiration
    return header_from_properties(struct.pack(">H", flags) + properties + b"\x02id", 3)


def death(queue: str = "q", reason: str = "rejected", keys: tuple[str, ...] = ("key",), exchange: str = "ex") -> Death:
    return Death(queue, reason, exchange, list(keys), SECONDS)


def died(start: ContentHeader, *pairs: tuple[str, str]) -> ContentHeader:
    for queue, reason in pairs:
        start = with_death(start, death(queue, reason), False)
    return start


def tables_of(of: ContentHeader) -> list[Table]:
    """The deaths, the latest first."""
    items = of.table()["x-death"].value
    assert isinstance(items, list)
    found = []
    for item in items:
        assert isinstance(item.value, dict)
        found.append(item.value)
    return found


def shown(of: ContentHeader) -> list[dict[str, object]]:
    return [{name: plain(field) for name, field in table.items()} for table in tables_of(of)]


def deaths(of: ContentHeader) -> list[tuple[object, object, object]]:
    """(queue, reason, count), the latest first."""
    return [(entry.get("queue"), entry.get("reason"), entry.get("count")) for entry in shown(of)]


def array(*tables: Table) -> Field:
    return Field("A", [Field("F", table) for table in tables])


def sent(table: Table) -> ContentHeader:
    """What is stored of a header that a client sends."""
    return ClientDeaths().stripped(header(table))


def test_first_death_has_rabbitmqs_octets() -> None:
    new = with_death(header(), death("src", "rejected", ("src", "k1", "k2"), ""), False)
    entry = (
        b"\x05countl" + struct.pack(">q", 1) + b"\x06reasonS\0\0\0\x08rejected\x05queueS\0\0\0\x03src"
        b"\x04timeT" + struct.pack(">Q", SECONDS) + b"\x08exchangeS\0\0\0\0"
        b"\x0crouting-keysA\0\0\0\x16S\0\0\0\x03srcS\0\0\0\x02k1S\0\0\0\x02k2"
    )
    item = b"F" + struct.pack(">I", len(entry)) + entry
    assert new.headers is not None
    assert new.headers.startswith(b"\x07x-deathA" + struct.pack(">I", len(item)) + item)


def test_headers_of_the_first_death_and_of_the_last() -> None:
    new = died(header({"own": Field("I", 1)}), ("a", "expired"), ("b", "rejected"))
    table = new.table()
    assert table["own"] == Field("I", 1)
    for prefix, queue, reason in (("x-first-death", "a", "expired"), ("x-last-death", "b", "rejected")):
        assert table[f"{prefix}-queue"] == longstr(queue)
        assert table[f"{prefix}-reason"] == longstr(reason)
        assert table[f"{prefix}-exchange"] == longstr("ex")
    assert len(table) == 8


def test_expiration_goes_and_stands_in_the_death_it_ended_with() -> None:
    new = with_death(header(None, b"60000"), death(), False)
    assert new.expiration is None
    assert new.persistent
    assert new.priority == 5
    (entry,) = shown(new)
    assert entry["original-expiration"] == "60000"
    again = died(new, ("other", "expired"))
    assert "original-expiration" not in shown(again)[0]
    assert shown(again)[1]["original-expiration"] == "60000"


def test_a_second_death_of_a_pair_is_counted_and_comes_first() -> None:
    new = died(header(), ("a", "rejected"), ("b", "expired"), ("a", "expired"))
    assert deaths(new) == [("a", "expired", 1), ("b", "expired", 1), ("a", "rejected", 1)]
    new = with_death(new, Death("a", "rejected", "elsewhere", ["new key"], SECONDS + 9), False)
    assert deaths(new) == [("a", "rejected", 2), ("a", "expired", 1), ("b", "expired", 1)]
    first = shown(new)[0]
    assert (first["time"], first["exchange"], first["routing-keys"]) == (SECONDS, "ex", ["key"])


def test_names_that_are_prefixes_of_each_other_are_different_queues() -> None:
    new = died(header(), ("queue", "expired"), ("que", "expired"))
    assert deaths(new) == [("que", "expired", 1), ("queue", "expired", 1)]


def test_counts_and_times_are_long_and_timestamp() -> None:
    (entry,) = tables_of(died(header(), ("a", "expired")))
    kinds = [(name, field.kind) for name, field in entry.items()]
    assert kinds == [
        ("count", "l"),
        ("reason", "S"),
        ("queue", "S"),
        ("time", "T"),
        ("exchange", "S"),
        ("routing-keys", "A"),
    ]


# Deaths that clients send


def test_a_client_that_publishes_again_with_the_headers_is_counted_on() -> None:
    table = died(header(), ("work", "rejected"), ("wait", "expired")).table()
    again = sent(table)
    assert again.table() == table
    assert deaths(died(again, ("work", "rejected"))) == [("work", "rejected", 2), ("wait", "expired", 1)]


def test_count_of_a_client_may_have_any_integer_type() -> None:
    foreign: Table = {
        "queue": longstr("q"),
        "reason": longstr("expired"),
        "count": Field("b", 7),
        "x": Field("t", True),
    }
    new = died(sent({"x-death": array(foreign)}), ("q", "expired"))
    assert deaths(new) == [("q", "expired", 8)]
    (entry,) = tables_of(new)
    assert entry["count"] == Field("l", 8)
    assert entry["x"] == Field("t", True)


@pytest.mark.parametrize(
    ("count", "next_count"),
    [
        (None, 1),
        (longstr("many"), 1),
        (Field("t", True), 1),
        (Field("l", -5), 1),
        (Field("l", (1 << 63) - 1), (1 << 63) - 1),
    ],
    ids=str,
)
def test_count_of_a_client_that_is_none(count: Field | None, next_count: int) -> None:
    foreign: Table = {"queue": longstr("q"), "reason": longstr("expired")}
    if count is not None:
        foreign["count"] = count
    assert deaths(died(sent({"x-death": array(foreign)}), ("q", "expired"))) == [("q", "expired", next_count)]


def test_what_is_no_death_in_a_clients_array_stays_where_it_is() -> None:
    odd = Field("A", [Field("I", 5), longstr("text"), Field("F", {}), Field("F", {"count": Field("l", 1)})])
    new = died(sent({"x-death": odd}), ("q", "expired"))
    items = new.table()["x-death"].value
    assert isinstance(items, list)
    assert items[1:] == odd.value
    assert not closes_cycle(new, "other")


def test_x_death_that_is_no_array_is_replaced() -> None:
    new = died(sent({"x-death": longstr("what"), "a": Field("V", None)}), ("q", "expired"))
    assert deaths(new) == [("q", "expired", 1)]
    assert new.table()["a"] == Field("V", None)


def test_first_death_of_a_client_without_x_death_is_replaced() -> None:
    new = died(sent({"x-first-death-queue": longstr("mine")}), ("q", "expired"))
    assert new.table()["x-first-death-queue"] == longstr("q")
    kept = died(sent({"x-death": array(), "x-first-death-queue": longstr("mine")}), ("q", "expired"))
    assert kept.table()["x-first-death-queue"] == longstr("mine")
    assert "x-first-death-reason" not in kept.table()


def test_a_header_without_deaths_passes_untouched() -> None:
    plain_header = header({"x-deathly": Field("I", 1), "CC": Field("A", [])})
    assert ClientDeaths().stripped(plain_header) is plain_header
    assert ClientDeaths().stripped(header()).headers is None


# Cycles


def test_a_circle_without_a_rejection_is_a_cycle() -> None:
    new = died(header(), ("a", "expired"), ("b", "maxlen"))
    assert closes_cycle(new, "a")
    assert closes_cycle(new, "b")
    assert not closes_cycle(new, "c")


def test_a_rejection_in_the_circle_breaks_it() -> None:
    new = died(header(), ("a", "rejected"), ("b", "expired"))
    assert not closes_cycle(new, "a")
    assert closes_cycle(new, "b")
    assert not closes_cycle(died(header(), ("a", "expired"), ("b", "rejected"), ("c", "expired")), "a")


def test_a_rejection_before_the_circle_does_not() -> None:
    assert closes_cycle(died(header(), ("z", "rejected"), ("a", "expired"), ("b", "expired")), "a")


def test_what_a_client_published_again_went_in_no_circle() -> None:
    table = died(header(), ("a", "expired"), ("b", "expired")).table()
    again = sent(table)
    assert not closes_cycle(again, "a")
    assert not closes_cycle(died(again, ("c", "expired")), "a")
    # Once it dies there again, it is a circle of our own.
    assert closes_cycle(died(again, ("a", "expired"), ("c", "expired")), "a")


# Anything


PAIRS = st.tuples(st.sampled_from(["a", "b", "aa", ""]), st.sampled_from(["rejected", "expired", "maxlen"]))


@given(tables, st.lists(st.one_of(PAIRS, st.none()), max_size=12))
def test_any_headers_stay_and_any_deaths_are_counted(own: Table, story: list[tuple[str, str] | None]) -> None:
    """None: a client takes it and publishes it again."""
    own = {name: field for name, field in own.items() if "-death" not in name and name != "CC"}
    now = sent(own)
    counts: dict[tuple[str, str], int] = {}
    automatic: list[tuple[str, str]] = []
    for step in story:
        if step is None:
            now = ClientDeaths().stripped(now)
            automatic = []
            continue
        now = died(now, step)
        counts = {step: counts.pop(step, 0) + 1, **counts}
        automatic = [step, *[pair for pair in automatic if pair != step]]
        for queue in ("a", "b", "aa", ""):
            circle = (
                [reason for _, reason in automatic[: [name for name, _ in automatic].index(queue) + 1]]
                if any(name == queue for name, _ in automatic)
                else ["rejected"]
            )
            assert closes_cycle(now, queue) == ("rejected" not in circle)
    if counts:
        assert deaths(now) == [(*pair, count) for pair, count in counts.items()]
    left = {name: field for name, field in now.table().items() if "-death" not in name}
    assert same_table(left, own)


# CC


CC = Field("A", [longstr("copy")])


def test_cc_stays_and_is_spent_where_its_keys_were_replaced() -> None:
    start = header({"CC": CC, "z": Field("I", 1)})
    assert not spends_cc(start)
    own_keys = with_death(start, death(), False)
    assert own_keys.table()["CC"] == CC
    assert not spends_cc(own_keys)
    rerouted = with_death(start, death(), True)
    assert rerouted.table()["CC"] == CC
    assert spends_cc(rerouted)
    assert spends_cc(with_death(rerouted, death("other"), False))
    assert spends_cc(with_death(own_keys, death("other"), True))


def test_cc_of_what_a_client_publishes_again_counts_anew() -> None:
    rerouted = with_death(header({"CC": CC}), death(), True)
    again = ClientDeaths().stripped(rerouted)
    assert again.table() == rerouted.table()
    assert not spends_cc(again)
    assert not spends_cc(died(again, ("q", "rejected")))


# Bounds


def test_oldest_deaths_go_when_they_are_too_many() -> None:
    new = header()
    for number in range(600):
        new = with_death(new, death(f"queue-{number}-" + "x" * 200, "expired"), False)
    assert new.headers is not None
    assert len(new.headers) < DEATHS_BYTES_MAX + 2000
    found = deaths(new)
    assert len(found) > 100
    assert str(found[0][0]).startswith("queue-599-")


def test_only_so_many_routing_keys_are_noted() -> None:
    keys = tuple(f"key-{number}" for number in range(10_000))
    new = with_death(header(), death(keys=keys), False)
    noted = shown(new)[0]["routing-keys"]
    assert isinstance(noted, list)
    assert noted == list(keys[: len(noted)])
    assert KEYS_BYTES_MAX - 20 <= len(noted) * 5 + sum(map(len, noted)) <= KEYS_BYTES_MAX
    one = with_death(header(), death(keys=("k" * 255, "l" * 255, "m" * 255, "n" * 255, "o" * 255)), False)
    kept = shown(one)[0]["routing-keys"]
    assert isinstance(kept, list)
    assert len(kept) == 3


def test_keys_that_are_not_utf_8_come_out_as_they_were() -> None:
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    (entry,) = tables_of(with_death(header(), death(keys=(odd,)), False))
    assert entry["routing-keys"] == Field("A", [Field("S", b"\xff\xfe")])
