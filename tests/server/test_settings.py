"""The tree of settings, its kinds, and the sample that is its manual."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.server.sample import sample
from amqpd.server.setting_kinds import (
    Address,
    Addresses,
    Amount,
    Choice,
    Duration,
    Flag,
    Integer,
    Kind,
    NotAllowed,
    Size,
    SizeOrShare,
    Texts,
    duration_from_text,
    size_from_text,
    size_text,
)
from amqpd.server.settings import SECTIONS, SETTINGS, Listeners, Setting, Settings, Tls, build, inconsistency
from tests.support.repository import ROOT

SAMPLE = ROOT / "etc" / "amqpd.toml"


def test_sample_names_every_setting_and_nothing_else() -> None:
    tables = tomllib.loads(SAMPLE.read_text())
    assert [(section, key) for section, table in tables.items() for key in table] == list(SETTINGS)


def test_sample_values_are_the_defaults() -> None:
    tables = tomllib.loads(SAMPLE.read_text())
    read = {
        (section, key): SETTINGS[section, key].kind.read(raw)
        for section in tables
        for key, raw in tables[section].items()
    }
    assert build(read) == Settings()


def test_sample_file_is_what_the_program_prints() -> None:
    assert SAMPLE.read_text() == sample()


@pytest.mark.parametrize("one", SETTINGS.values(), ids=lambda one: one.name)
def test_setting_has_a_manual_and_a_default_of_its_kind(one: Setting) -> None:
    assert one.doc.endswith(".")
    assert one.kind.read(tomllib.loads(f"x = {one.kind.write(one.default)}")["x"]) == one.default


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().log.level = "debug"  # type: ignore[misc]


def test_queues_may_be_of_any_type_by_default() -> None:
    kind = SETTINGS["queues", "default_type"].kind
    assert [kind.read(one) for one in ("classic", "quorum", "stream")] == ["classic", "quorum", "stream"]
    with pytest.raises(NotAllowed):
        kind.read("log")


def test_build_puts_values_in_place_of_defaults() -> None:
    settings = build({("connections", "heartbeat"): 5, ("log", "level"): "debug"})
    assert (settings.connections.heartbeat, settings.log.level) == (5, "debug")
    assert settings.connections.frame_max == 131072
    assert SECTIONS[0] == "listeners"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(listeners=Listeners(tls=(Address("", 5671),))), "tls.certificate"),
        (Settings(tls=Tls(verify="peer")), "tls.ca"),
        (Settings(tls=Tls(fail_if_no_peer_cert=True)), "tls.verify"),
        (replace(Settings(), auth=replace(Settings().auth, mechanisms=())), "auth.mechanisms"),
        (replace(Settings(), auth=replace(Settings().auth, default_user="")), "auth.default_user"),
        (replace(Settings(), store=replace(Settings().store, data_dir="")), "store.data_dir"),
    ],
)
def test_settings_that_cannot_work_together_are_told(settings: Settings, said: str) -> None:
    assert said in str(inconsistency(settings))


def test_defaults_work_together() -> None:
    assert inconsistency(Settings()) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64KiB", 65536),
        ("64k", 65536),
        ("1GB", 10**9),
        ("1.5 MiB", 1572864),
        ("2tib", 2 * 1024**4),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert size_from_text(text) == size


@given(st.integers(0, 2**63))
def test_size_text_reads_back_exactly(size: int) -> None:
    if size < 10**18:
        assert size_from_text(size_text(size)) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 Mi", "1e3", "1.MiB", "inf", "\u0663", "1_000", "9" * 30])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(NotAllowed):
        size_from_text(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("250ms", 0.25), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert duration_from_text(text) == pytest.approx(seconds)


@pytest.mark.parametrize("raw", ["", "s", "-1s", "1 fortnight", "nan", float("nan"), True, None, [], 0.01, 3601])
def test_what_is_no_duration_in_range_is_refused(raw: object) -> None:
    with pytest.raises(NotAllowed):
        Duration(0.1, 3600.0).read(raw)


@pytest.mark.parametrize("raw", [True, 1.5, "5", -1, 11, None])
def test_what_is_no_integer_in_range_is_refused(raw: object) -> None:
    with pytest.raises(NotAllowed):
        Integer(0, 10).read(raw)


@pytest.mark.parametrize("raw", [True, 1.5, -1, 11, "1MiB", None, []])
def test_what_is_no_size_in_range_is_refused(raw: object) -> None:
    with pytest.raises(NotAllowed):
        Size(0, 10).read(raw)


@pytest.mark.parametrize(
    ("raw", "amount"),
    [
        (0.6, Amount(share=0.6)),
        ("0.6", Amount(share=0.6)),
        ("60%", Amount(share=0.6)),
        (1.0, Amount(share=1.0)),
        (1, Amount(size_bytes=1)),
        ("2GiB", Amount(size_bytes=2 * 1024**3)),
        ("1.5GB", Amount(size_bytes=1_500_000_000)),
    ],
)
def test_amount_is_read(raw: object, amount: Amount) -> None:
    assert SizeOrShare().read(raw) == amount


@pytest.mark.parametrize("raw", [-0.1, -1, 100.1, float("nan"), float("inf"), True, "much", "", None])
def test_what_is_no_amount_is_refused(raw: object) -> None:
    with pytest.raises(NotAllowed):
        SizeOrShare().read(raw)


def test_amount_is_resolved_against_the_whole() -> None:
    assert Amount(share=0.25).resolve(1000) == 250
    assert Amount(size_bytes=7).resolve(1000) == 7


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5672", Address("127.0.0.1", 5672)),
        ("[::1]:5672", Address("::1", 5672)),
        (":5672", Address("", 5672)),
        ("5672", Address("", 5672)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_address_is_read_and_written_back(text: str, address: Address) -> None:
    assert Addresses().read([text]) == (address,)
    assert Addresses().read([str(address)]) == (address,)


@pytest.mark.parametrize(
    "text", ["", "::1:5672", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "a b:1", "[::1]5672", 5672]
)
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(NotAllowed):
        Addresses().read([text])


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([one.kind for one in SETTINGS.values()]), toml_values)
def test_any_value_is_read_or_not_allowed(kind: Kind, raw: object) -> None:
    try:
        value = kind.read(raw)
    except NotAllowed:
        return
    assert kind.read(tomllib.loads(f"x = {kind.write(value)}")["x"]) == value


def test_lists_are_checked_for_choices_and_length() -> None:
    assert Texts("PLAIN", "EXTERNAL").read(["EXTERNAL"]) == ("EXTERNAL",)
    for kind, raw in (
        (Texts("PLAIN"), ["plain"]),
        (Texts(length=3), ["a", "b"]),
        (Texts(), "abc"),
        (Texts(), [1]),
    ):
        with pytest.raises(NotAllowed):
            kind.read(raw)


def test_text_from_the_environment_is_read_by_kind() -> None:
    assert Integer(-1, 9).from_text(" -1 ") == -1
    assert Flag().from_text("Yes") is True
    assert Texts().from_text("a, b") == ["a", "b"]
    assert Texts().from_text("") == []
    for kind, text in ((Integer(0, 9), "five"), (Flag(), "maybe"), (Choice("a"), "b")):
        with pytest.raises(NotAllowed):
            kind.read(kind.from_text(text))
