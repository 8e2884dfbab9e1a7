"""The argument table: how its values are read and shown."""

from __future__ import annotations

from amqpd.spec.arguments import AGE_MS_MAX, described, max_age_ms


def test_units_of_ages() -> None:
    day = 86_400_000
    wanted = {"1Y": 365 * day, "2M": 60 * day, "7D": 7 * day, "3h": 3 * 3_600_000, "010m": 600_000, "1s": 1000}
    assert {text: max_age_ms(text) for text in wanted} == wanted
    assert max_age_ms("99999999999999999999Y") == max_age_ms("1" * 5000 + "s") == AGE_MS_MAX
    assert max_age_ms("0" * 5000 + "1s") == 1000


def test_values_as_rabbitmq_writes_them() -> None:
    assert [described(value) for value in (True, False, b"text", b"\xff", 5, 1.5)] == [
        "true",
        "false",
        "text",
        "\ufffd",
        "5",
        "1.5",
    ]
