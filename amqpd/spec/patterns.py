"""Patterns of permissions and policies: PCRE as RabbitMQ's users write it, compiled by Python's ``re`` and cached.

A pattern is searched for, not anchored: ``p`` matches ``pq`` (seen on RabbitMQ 3.10). Most patterns mean the
same in both dialects. What Python would silently read as something else (``[[:alpha:]]``, ``\\Z``, ``[[a]``)
is translated; what it has no word for (``\\p{L}``, recursion, flags in the middle) is refused when it is set,
and denies when it is found in the store.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PATTERN_LENGTH_MAX: Final = 4096
COMPILED_PATTERNS_MAX: Final = 4096  # kept compiled: three for each of some thousand permission rows

_POSIX_CLASSES: Final[dict[str, str]] = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "ascii": r"\x00-\x7f",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}
_POSIX_CLASS: Final = re.compile(r"\[:(\^?[a-z]+):\]")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a permission pattern; ValueError, with the reason, if it is not a valid one."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise ValueError(f"a pattern may have {PATTERN_LENGTH_MAX} characters, this one has {len(pattern)}")
    try:
        # PCRE without its Unicode mode knows ASCII digits and letters only.
        return re.compile(_to_python(pattern), re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"invalid regular expression '{pattern}': {error}") from None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in ``text``; an empty or invalid pattern is found nowhere."""
    if not pattern:
        return False
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search(text) is not None


@lru_cache(maxsize=COMPILED_PATTERNS_MAX)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return compile_pattern(pattern)
    except ValueError:
        return None


def _to_python(pattern: str) -> str:
    """Rewrite what the two dialects read differently."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            piece, at = _class_to_python(pattern, at)
        elif pattern[at] == "\\":
            piece, at = _escape_to_python(pattern, at)
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!"):
            piece, at = "(?P<", at + 3
        else:
            piece, at = pattern[at], at + 1
        out.append(piece)
    return "".join(out)


def _escape_to_python(pattern: str, at: int) -> tuple[str, int]:
    """Translate the escape at ``at``, outside a class; returns it and the index behind it."""
    escape = pattern[at : at + 2]
    if escape == "\\Q":
        end = pattern.find("\\E", at)
        end = len(pattern) if end < 0 else end
        return re.escape(pattern[at + 2 : end]), end + 2
    if escape == "\\Z":
        return r"(?=\n?\Z)", at + 2
    if escape == "\\z":
        return r"\Z", at + 2
    if escape == "\\h":
        return r"[ \t]", at + 2
    return escape, at + 2


def _class_to_python(pattern: str, at: int) -> tuple[str, int]:
    """Translate the character class at ``at``; returns it and the index behind it."""
    out = ["["]
    at += 1
    if pattern.startswith("^", at):
        out.append("^")
        at += 1
    first = len(out)
    if pattern.startswith("]", at):  # a bracket that stands first is a character
        out.append("\\]")
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        posix = _POSIX_CLASS.match(pattern, at)
        if posix is not None:
            if posix[1] not in _POSIX_CLASSES:
                raise ValueError(f"the character class {posix[0]} is not supported")
            out.append(_POSIX_CLASSES[posix[1]])
            at = posix.end()
        elif pattern[at] == "\\":
            out.append(r" \t" if pattern.startswith("\\h", at) else pattern[at : at + 2])
            at += 2
        else:
            # Python warns that these may become set operations one day; two dashes can only end a range here.
            dashes = pattern[at] == "-" == out[-1] and len(out) > first + 1
            out.append("\\" + pattern[at] if pattern[at] in "[&|~" or dashes else pattern[at])
            at += 1
    if at >= len(pattern):
        raise ValueError("a character class is not closed")
    out.append("]")
    return "".join(out), at + 1
