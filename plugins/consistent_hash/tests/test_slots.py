"""Shares follow weights, and only a share moves when a member comes or goes."""

from __future__ import annotations

import random
from collections import Counter

from amqpd_consistent_hash.slots import COMPACT_AT, Slots, slot_of

KEYS = [f"key-{number}".encode() for number in range(100_000)]
FEW = KEYS[:5_000]


def slots_of(**weights: int) -> Slots[str]:
    slots: Slots[str] = Slots()
    for name, weight in weights.items():
        slots.add(name, weight, name)
    return slots


def placed(slots: Slots[str], keys: list[bytes] = FEW) -> list[str | None]:
    return [slots.find(key) for key in keys]


def test_nobody_gets_anything_without_members() -> None:
    slots = slots_of()
    assert slots.find(b"k") is None
    slots.add("a", 1, "A")
    assert slots.find(b"k") == "A"
    slots.remove("a")
    assert (slots.find(b"k"), len(slots)) == (None, 0)


def test_weights_give_the_shares_they_promise() -> None:
    weights = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 10}
    shares = Counter(placed(slots_of(**weights), KEYS))
    for name, weight in weights.items():
        assert abs(shares[name] / len(KEYS) - weight / 20) < 0.004, shares


def test_ten_equals_get_equal_shares() -> None:
    shares = Counter(placed(slots_of(**{f"q{number}": 1 for number in range(10)}), KEYS))
    assert len(shares) == 10
    assert max(shares.values()) < 1.08 * min(shares.values()), shares


def test_only_the_ratio_of_weights_counts() -> None:
    assert placed(slots_of(a=1, b=3)) == placed(slots_of(a=10**200, b=3 * 10**200))


def test_a_weight_may_be_enormous() -> None:
    assert set(placed(slots_of(a=1, b=10**254))) == {"b"}


def test_placement_depends_on_nothing_but_names_and_weights() -> None:
    weights = {f"q{number}": number % 4 + 1 for number in range(40)}
    names = list(weights)
    expected = placed(slots_of(**weights))
    chance = random.Random(1)
    for _ in range(3):
        chance.shuffle(names)
        slots = slots_of(**{name: weights[name] for name in names[:20]})
        slots.add("other", 7, "other")
        placed(slots, FEW[:700])
        for name in names[20:]:
            slots.add(name, weights[name], name)
        placed(slots, FEW[500:1500])
        slots.remove("other")
        assert placed(slots) == expected


def test_placement_is_what_it_always_was() -> None:
    """A change here would move the messages of every broker that is upgraded."""
    slots = slots_of(a=1, b=2, c=1)
    assert slot_of(b"") == 0xB1FE
    assert (
        "".join([slots.find(b"%d" % number) or "" for number in range(40)])
        == "babacbbacacbcbcbcaccbbbaacaacbacbbbabcbb"
    )


def test_one_that_comes_takes_its_share_and_nothing_else_moves() -> None:
    slots = slots_of(a=1, b=2, c=3)
    before = placed(slots)
    slots.add("d", 2, "d")
    after = placed(slots)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"d"}
    assert abs(len(moved) / len(FEW) - 2 / 8) < 0.03


def test_one_that_goes_leaves_its_share_and_nothing_else_moves() -> None:
    slots = slots_of(a=1, b=2, c=3)
    before = placed(slots)
    slots.remove("b")
    after = placed(slots)
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {"b"}
    assert set(after) == {"a", "c"}


def test_one_that_weighs_more_only_gains() -> None:
    slots = slots_of(a=1, b=1, c=1)
    before = placed(slots)
    slots.remove("a")
    slots.add("a", 2, "a")
    moved = [new for old, new in zip(before, placed(slots), strict=True) if old != new]
    assert set(moved) == {"a"}


def test_coming_and_going_leaves_no_places_behind() -> None:
    slots = slots_of(a=1, b=1)
    before = placed(slots)
    for number in range(5 * COMPACT_AT):
        slots.add(f"guest {number}", 3, "guest")
        placed(slots, FEW[:10])
        slots.remove(f"guest {number}")
    assert len(slots._targets) <= 4 + COMPACT_AT
    assert placed(slots) == before
