"""The fields of an entry, each asked for by its name and type."""

from __future__ import annotations

import math
from typing import Any, Final

from amqpd.server.definitions.document import Entry

NAME_BYTES_MAX: Final = 255  # names travel as short strings
NESTING_MAX: Final = 32  # of JSON inside an entry; less than what a field table may have

REQUIRED: Final[Any] = object()


class Fields:
    """One entry. Everything raises ValueError with a sentence for the operator."""

    def __init__(self, entry: object) -> None:
        if not isinstance(entry, dict):
            raise ValueError("is no object")
        _check_values(entry, 0)
        self.entry: Entry = entry

    def __contains__(self, name: str) -> bool:
        return self.entry.get(name) is not None

    def _value(self, name: str, default: Any) -> Any:
        value = self.entry.get(name)
        if value is not None:
            return value
        if default is REQUIRED:
            raise ValueError(f"'{name}' is missing")
        return default

    def text(self, name: str, default: str = REQUIRED) -> str:
        value = self._value(name, default)
        if not isinstance(value, str):
            raise ValueError(f"'{name}' must be text")
        return value

    def name(self, name: str = "name", default: str = REQUIRED) -> str:
        """A text that fits in a short string."""
        value = self.text(name, default)
        if len(value.encode()) > NAME_BYTES_MAX:
            raise ValueError(f"'{name}' is longer than {NAME_BYTES_MAX} bytes")
        return value

    def flag(self, name: str, default: bool = REQUIRED) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"'{name}' must be true or false")
        return value

    def number(self, name: str, default: int = REQUIRED) -> int:
        value = self._value(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise ValueError(f"'{name}' must be a whole number of 64 bits")
        return value

    def table(self, name: str, default: dict[str, Any] = REQUIRED) -> dict[str, Any]:
        """An object; ``rabbitmqctl export_definitions`` writes some of them as lists of pairs."""
        value = self._value(name, default)
        if isinstance(value, list) and all(_is_pair(one) for one in value):
            return dict(value)
        if not isinstance(value, dict):
            raise ValueError(f"'{name}' must be an object")
        return value

    def tags(self, default: list[str] = REQUIRED) -> list[str]:
        """A list of texts, or one text with commas as up to RabbitMQ 3.8."""
        value = self._value("tags", default)
        if isinstance(value, str):
            value = [tag for one in value.split(",") if (tag := one.strip())]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError("'tags' must be a list of texts, or a text with commas")
        return value


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _check_values(value: object, depth: int) -> None:
    """Raises ValueError where an entry holds what could not be stored or read back."""
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, dict):
        for name, one in value.items():
            _check_text(name)
            _check_values(one, _deeper(depth))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is not finite")
    elif isinstance(value, list):
        for one in value:
            _check_values(one, _deeper(depth))


def _deeper(depth: int) -> int:
    if depth >= NESTING_MAX:
        raise ValueError(f"is nested more than {NESTING_MAX} deep")
    return depth + 1


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no text") from None


def check_vhost_name(name: str) -> None:
    """Raises ValueError for a name no vhost can have."""
    if not name or "\0" in name or len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"a vhost name must have 1 to {NAME_BYTES_MAX} bytes and no NUL")
