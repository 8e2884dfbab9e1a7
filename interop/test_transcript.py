"""The comparison finds every difference, tells where it is, and lets only the intended ones pass."""

import pytest

from interop import facts
from interop.transcript import MISSING, Difference, Json, differing_places, unexplained


@pytest.mark.parametrize(
    ("left", "right", "places"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("a/1/b", 2, 3)]),
        ({"a": 1}, {"a": 1, "b": 2}, [("b", MISSING, 2)]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])]),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ("x", ["x"], [("", "x", ["x"])]),
    ],
)
def test_differing_places_are_the_innermost_ones(left: Json, right: Json, places: list[tuple[str, Json, Json]]) -> None:
    assert list(differing_places(left, right)) == places


def test_an_intended_difference_is_for_one_place_and_the_listed_answers_only() -> None:
    intended = [Difference("version", ("3.10.8",), facts.VERSION)]
    assert unexplained({"version": "3.13.7"}, {"version": "3.10.8"}, intended) == []
    assert unexplained({"version": "3.13.7"}, {"version": "4.0"}, intended) == [
        "version: amqpd '3.13.7', RabbitMQ '4.0'"
    ]
    assert unexplained({"other": 1}, {"other": "3.10.8"}, intended) == ["other: amqpd 1, RabbitMQ '3.10.8'"]
