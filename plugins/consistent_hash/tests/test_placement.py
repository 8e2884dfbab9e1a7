"""Shares by weight, and what moves when a destination comes or goes."""

from __future__ import annotations

from collections import Counter

from amqpd_consistent_hash.placement import Placement

KEYS = [b"key %d" % number for number in range(20_000)]


def placed(**weights: int) -> list[str | None]:
    placement: Placement[str] = Placement()
    for name, weight in weights.items():
        placement.put(name, name, weight)
    return [placement.find(key) for key in KEYS]


def test_nobody_gets_a_key_where_nobody_is() -> None:
    assert set(placed()) == {None}


def test_shares_are_as_the_weights() -> None:
    counts = Counter(placed(a=1, b=2, c=5, d=12))
    for name, weight in (("a", 1), ("b", 2), ("c", 5), ("d", 12)):
        assert abs(counts[name] / len(KEYS) - weight / 20) < 0.015, counts


def test_the_order_of_bindings_does_not_matter() -> None:
    assert placed(a=1, b=2, c=3) == placed(c=3, a=1, b=2)


def test_one_that_comes_takes_its_share_and_no_other_key_moves() -> None:
    before, after = placed(a=1, b=1, c=1), placed(a=1, b=1, c=1, d=1)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"d"}
    assert abs(len(moved) / len(KEYS) - 0.25) < 0.01


def test_the_keys_of_one_that_goes_are_shared_out() -> None:
    placement: Placement[str] = Placement()
    for name in "abc":
        placement.put(name, name, 1)
    before = [placement.find(key) for key in KEYS]
    placement.drop("b")
    after = [placement.find(key) for key in KEYS]
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {"b"}
    inherited = Counter(new for old, new in zip(before, after, strict=True) if old == "b")
    assert abs(inherited["a"] - inherited["c"]) < 0.1 * len(KEYS) / 3


def test_a_weight_that_grows_only_takes() -> None:
    before, after = placed(a=1, b=1), placed(a=3, b=1)
    assert {(old, new) for old, new in zip(before, after, strict=True) if old != new} == {("b", "a")}
