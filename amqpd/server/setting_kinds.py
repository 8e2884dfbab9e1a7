"""The kinds of value a setting may have: how each is read from TOML or from text, and written in the sample.

A kind reads a raw value (what TOML gave, or plain text from the environment) into the typed value the broker
uses, or raises ``NotAllowed``. ``allowed`` says in words what is, for the error line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class NotAllowed(ValueError):
    """The value is not one of its kind, or out of range."""


class Address(NamedTuple):
    """Where to listen. An empty host means every interface; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Amount:
    """A number of bytes, or a share of some total; exactly one of the two is set."""

    size_bytes: int | None = None
    share: float | None = None

    def resolve(self, total_bytes: int) -> int:
        """The amount in bytes when the whole is ``total_bytes``."""
        if self.size_bytes is not None:
            return self.size_bytes
        assert self.share is not None
        return int(self.share * total_bytes)


class Kind:
    """What all kinds share; a plain kind takes any text."""

    allowed: str = "text"
    choices: Sequence[str] = ()  # for the nearest match in an error line

    def read(self, value: object) -> object:
        """The typed value of a raw one. Raises NotAllowed."""
        if not isinstance(value, str):
            raise NotAllowed
        return value

    def from_text(self, text: str) -> object:
        """The raw value that ``text`` from the environment or the command line stands for."""
        return text

    def write(self, value: object) -> str:
        """The typed value as a TOML literal that reads back as the same value."""
        return json.dumps(value, ensure_ascii=False)


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.allowed = "one of " + ", ".join(choices)

    def read(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise NotAllowed
        return value


class Flag(Kind):
    """True or false."""

    allowed = "true or false"
    WORDS: ClassVar = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise NotAllowed
        return value

    def from_text(self, text: str) -> object:
        return self.WORDS.get(text.strip().lower(), text)


class Integer(Kind):
    """A whole number in a range; the ends belong to it."""

    def __init__(self, minimum: int, maximum: int, meaning: str = "") -> None:
        self.minimum, self.maximum = minimum, maximum
        self.allowed = f"a whole number from {minimum} to {maximum}" + (f" ({meaning})" if meaning else "")

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            raise NotAllowed
        return value

    def from_text(self, text: str) -> object:
        return int(text) if re.fullmatch(r"\s*-?[0-9]{1,20}\s*", text) else text


# RabbitMQ's suffixes: a bare letter and KiB count in powers of 2, KB in powers of 10.
_SIZE_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _SIZE_UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}


def size_from_text(text: str) -> int:
    """Bytes of ``64MiB``, ``1GB``, ``1.5g`` or ``4096``. Raises NotAllowed."""
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise NotAllowed
    unit = _SIZE_UNITS[match[2].lower()]
    return int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def size_text(size_bytes: int) -> str:
    """The shortest exact way to write a size: ``64MiB``, ``50MB`` or plain bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB"):
        if size_bytes and size_bytes % _SIZE_UNITS[unit.lower()] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit.lower()]}{unit}"
    return str(size_bytes)


class Size(Kind):
    """A number of bytes, with or without a unit."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.allowed = f"a size from {size_text(minimum)} to {size_text(maximum)}, such as 4096, 64MiB or 64MB"

    def read(self, value: object) -> int:
        if isinstance(value, str):
            value = size_from_text(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            raise NotAllowed
        return value

    def write(self, value: object) -> str:
        assert isinstance(value, int)
        text = size_text(value)
        return text if text.isdigit() else json.dumps(text)


class SizeOrShare(Kind):
    """A size, or a share of the machine's memory: a number with a decimal point, or per cent."""

    allowed = "a share of the machine's memory such as 0.6 or 60%, or a size such as 2GiB"
    SHARE_MAX = 100.0  # RabbitMQ allows a disk limit of several times the memory

    def read(self, value: object) -> Amount:
        if isinstance(value, str):
            if match := re.fullmatch(r"\s*([0-9]{1,4}(?:\.[0-9]{1,6})?)\s*%\s*", value):
                value = float(match[1]) / 100
            elif re.fullmatch(r"\s*[0-9]{1,4}\.[0-9]{1,6}\s*", value):
                value = float(value)
            else:
                value = size_from_text(value)
        if isinstance(value, float) and 0.0 <= value <= self.SHARE_MAX:
            return Amount(share=value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return Amount(size_bytes=value)
        raise NotAllowed

    def write(self, value: object) -> str:
        assert isinstance(value, Amount)
        return repr(value.share) if value.size_bytes is None else json.dumps(size_text(value.size_bytes))


_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def duration_from_text(text: str) -> float:
    """Seconds of ``10s``, ``250ms``, ``1.5h`` or ``10``. Raises NotAllowed."""
    match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _DURATION_UNITS:
        raise NotAllowed
    return float(match[1]) * _DURATION_UNITS[match[2]]


class Duration(Kind):
    """A time in seconds, with or without a unit."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.allowed = f"a time from {minimum:g} to {maximum:.9g} seconds, such as 10, 250ms, 10s or 5m"

    def read(self, value: object) -> float:
        if isinstance(value, str):
            value = duration_from_text(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            raise NotAllowed
        return float(value)

    def write(self, value: object) -> str:
        assert isinstance(value, float)
        return json.dumps(f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms")


class Texts(Kind):
    """A list of texts, perhaps out of a few choices, perhaps of a fixed length."""

    def __init__(self, *choices: str, length: int | None = None, what: str = "texts") -> None:
        self.choices, self.length = choices, length
        self.allowed = f"a list of {what}" if not choices else "a list out of " + ", ".join(choices)

    def read(self, value: object) -> tuple[object, ...]:
        if not isinstance(value, list | tuple) or self.length not in (None, len(value)):
            raise NotAllowed
        return tuple(self.read_one(one) for one in value)

    def read_one(self, value: object) -> object:
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            raise NotAllowed
        return value

    def from_text(self, text: str) -> object:
        """Parts between commas; an empty text is an empty list."""
        return [part.strip() for part in text.split(",")] if text.strip() else []

    def write(self, value: object) -> str:
        assert isinstance(value, tuple)
        return json.dumps([str(one) for one in value], ensure_ascii=False)


class Addresses(Texts):
    """A list of addresses to listen on."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = 'a list of addresses such as "127.0.0.1:5672", "[::1]:5672" or ":5672" (every interface)'

    def read_one(self, value: object) -> Address:
        if not isinstance(value, str):
            raise NotAllowed
        match = re.fullmatch(r"\s*(?:\[([0-9a-fA-F:.%\w]+)\]:|([^\s:\[\]]*):)?([0-9]{1,5})\s*", value)
        if match is None or int(match[3]) > 65535:
            raise NotAllowed
        return Address(match[1] or match[2] or "", int(match[3]))
