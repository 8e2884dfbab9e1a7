"""Two recordings of one scenario: the first frame in which they differ."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from interop.transcript import differing_places

Item = dict[str, Any]
Connections = list[list[Item]]
Place = tuple[str, Any, Any]


@dataclass(frozen=True)
class FrameDifference:
    """Counted from 1. ``left`` and ``right`` are None where one broker had no such frame."""

    connection: int
    frame: int
    left: Item | None
    right: Item | None

    @property
    def comparable(self) -> bool:
        return _kind(self.left) == _kind(self.right)

    def places(self) -> Iterator[Place]:
        """Where the frames differ, innermost, as ``differing_places`` has it.

        ``connection.start/server_properties/version/1`` is the value of a table's entry, ``basic.deliver/redelivered``
        an argument, ``header/properties/priority`` a property. Of frames that cannot be compared both are named:
        ``frame/basic.get-ok/basic.get-empty``, ``frame/nothing/end``.
        """
        kind, other = _kind(self.left), _kind(self.right)
        if not self.comparable:
            yield f"frame/{kind[1]}/{other[1]}", self.left, self.right
            return
        for path, ours, theirs in differing_places(_inner(self.left), _inner(self.right)):
            yield f"{kind[1]}/{path}", ours, theirs


def differences(left: Connections, right: Connections) -> Iterator[FrameDifference]:
    """Frame by frame, on each connection, until the frames of a connection are not comparable any more."""
    none: list[Item] = []
    for number, (ours, theirs) in enumerate(zip_longest(left, right, fillvalue=none), start=1):
        yield from _of_connection(number, ours, theirs)


def _of_connection(number: int, left: Iterable[Item], right: Iterable[Item]) -> Iterator[FrameDifference]:
    for frame, (ours, theirs) in enumerate(zip_longest(left, right), start=1):
        if ours == theirs:
            continue
        difference = FrameDifference(number, frame, ours, theirs)
        yield difference
        if not difference.comparable:
            return


def _kind(item: Item | None) -> tuple[str, str]:
    """Who sent it, and what it is."""
    if item is None:
        return "", "nothing"
    what = next(key for key in ("end", "method", "header", "body", "octets") if key in item)
    return item["from"], str(item["method"]) if what == "method" else what


def _inner(item: Item | None) -> Any:
    assert item is not None
    return item["arguments"] if "method" in item else {key: item[key] for key in item if key != "from"}
