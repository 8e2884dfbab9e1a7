"""What the connections of a scenario said and heard, frame by frame, decoded, as plain JSON data.

With CONFORMANCE_RECORD, the name of a file, every test writes one line there:
``{"scenario": name, "differs": fact, "skipped": why, "failed": bool, "connections": [[item, ...], ...]}``. ``fact`` is
the name of the one of ``interop/facts.py`` that the row is marked with, ``why`` is for a row that is not compared;
both are empty for most. An item is a mapping with ``from`` (client or server) and one of

- ``channel``, ``method`` and ``arguments``
- ``channel``, ``header`` (class), ``size`` and ``properties``
- ``channel``, ``body`` (octets), ``digest``, and ``text`` if it is short
- ``octets``: what is no frame, or none that can be decoded
- ``end``: the server's end of the connection, as the test saw it

Values of tables are pairs of type letter and value. Heartbeats are left out: when they come is chance. Frames from the
server stand where the test took them, so that the order of items does not depend on how fast the server was.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from .codec import BODY, FRAME_END, HEADER, HEARTBEAT, METHOD, TypedReader, decode_method, decode_properties

Item = dict[str, Any]
SETTLED = 0.1  # seconds without a frame on any connection after which a scenario counts as over
TEXT_OCTETS = 2000  # a body up to this size is kept as text
OCTETS = 64  # of what cannot be decoded


class Scenario:
    """The recordings of one test; what connections it opens are known by their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.differs = ""
        self.skipped = ""
        self.failed = False
        self.connections: list[Connection] = []
        self.last = time.monotonic()

    def finish(self) -> None:
        """End the recordings before anything is cleared away, which is no part of the scenario."""
        for connection in self.connections:
            connection.finish()

    def line(self) -> str:
        about = {"scenario": self.name, "differs": self.differs, "skipped": self.skipped, "failed": self.failed}
        connections = [] if self.skipped else [connection.items for connection in self.connections]
        return json.dumps({**about, "connections": connections}, default=_bytes_as_text) + "\n"


class Connection:
    """What one connection said and heard so far."""

    def __init__(self, scenario: Scenario, finish: Callable[[], None]) -> None:
        self.items: list[Item] = []
        self.finish = finish
        self._scenario = scenario

    def sent(self, kind: int, channel: int, payload: bytes, end: int) -> None:
        item = decoded(kind, channel, payload)
        self._add("client", item if end == FRAME_END else {**item, "frame_end": end})

    def sent_octets(self, data: bytes) -> None:
        self._add("client", {"octets": octets(data)})

    def received(self, kind: int, channel: int, payload: bytes) -> None:
        if kind != HEARTBEAT:
            self._add("server", decoded(kind, channel, payload))

    def received_octets(self, data: bytes) -> None:
        self._add("server", {"octets": octets(data)})

    def put_back(self) -> None:
        """The frame received last was only looked at."""
        self.items.pop()

    def ended(self) -> None:
        if not (self.items and "end" in self.items[-1]):
            self._add("server", {"end": True})

    def settles_in(self) -> float:
        """Seconds that the scenario must still be quiet to be over."""
        return max(self._scenario.last + SETTLED - time.monotonic(), 0.001)

    def _add(self, side: str, item: Item) -> None:
        self.items.append({"from": side, **item})
        self._scenario.last = time.monotonic()


def mark_of(scenario: str, token: str) -> str:
    """What is in every name that a scenario makes up, and in no other's: token and a number for the scenario."""
    return f"{token}-{zlib.crc32(scenario.encode()):08x}"


_writing = Lock()  # tests that take seconds run in threads
_current: ContextVar[Scenario | None] = ContextVar("scenario", default=None)


def begin(finish: Callable[[], None]) -> Connection | None:
    """The recording of a connection that is opened now; None outside of recorded scenarios.

    ``finish`` is called when the scenario is over and is to read what is still to come.
    """
    scenario = _current.get()
    if scenario is None:
        return None
    scenario.connections.append(Connection(scenario, finish))
    return scenario.connections[-1]


@contextmanager
def recorded(scenario: Scenario) -> Iterator[None]:
    """Record the connections that are opened in the block, if CONFORMANCE_RECORD says where."""
    file = os.environ.get("CONFORMANCE_RECORD")
    if not file:
        yield
        return
    before = _current.set(scenario)
    try:
        yield
    finally:
        _current.reset(before)
        with _writing, Path(file).open("a", encoding="utf-8") as out:
            out.write(scenario.line())


@contextmanager
def aside() -> Iterator[None]:
    """Record nothing of the connections that are opened in the block."""
    before = _current.set(None)
    try:
        yield
    finally:
        _current.reset(before)


def decoded(kind: int, channel: int, payload: bytes) -> Item:
    """A frame as an item. Nothing is too broken for it: tests send such things on purpose."""
    try:
        if kind == METHOD:
            method, values = decode_method(payload, TypedReader)
            return {"channel": channel, "method": method.name, "arguments": values}
        if kind == HEADER:
            return {"channel": channel, **_header(payload)}
    except (AssertionError, LookupError, ValueError, struct.error):
        pass
    if kind == BODY:
        return {"channel": channel, "body": len(payload), **_body(payload)}
    return {"channel": channel, "frame_type": kind, "octets": octets(payload)}


def _header(payload: bytes) -> Item:
    class_id, weight, size = struct.unpack_from(">HHQ", payload)
    item: Item = {"header": class_id, "size": size, "properties": decode_properties(payload[12:], TypedReader)}
    return {**item, "weight": weight} if weight else item


def _body(payload: bytes) -> Item:
    digest = sha256(payload).hexdigest()[:16]
    if len(payload) > TEXT_OCTETS:
        return {"digest": digest}
    return {"text": payload.decode("latin-1"), "digest": digest}


def octets(data: bytes) -> str:
    """Octets in readable form; of many only the first, with the digest of all."""
    shown = data[:OCTETS].decode("latin-1").encode("unicode_escape").decode()
    return shown if len(data) <= OCTETS else f"{shown}... ({len(data)}, {sha256(data).hexdigest()[:16]})"


def _bytes_as_text(value: object) -> str:
    assert isinstance(value, bytes)
    return octets(value)
