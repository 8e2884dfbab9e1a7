"""Mutations of sessions: octets, spans and whole frames. The same seed gives the same mutations."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from itertools import pairwise

from interop.conformance.codec import METHODS

EDGES = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (0, 1, 7, 8, 4088, 4096, 4097, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
METHOD_IDS = [row.class_id << 16 | row.method_id for row in METHODS.values()]


def mutated(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to five mutations, one after the other. ``others``: sessions to take pieces from."""
    for _ in range(chance.randint(1, 5)):
        session = chance.choice(MUTATIONS)(session, others, chance)
    return session


def pieces(stream: bytes, chance: random.Random) -> list[bytes]:
    """The stream as it may come from a socket: in one piece, in a few, or octet by octet around one place."""
    cuts = {chance.randrange(len(stream) + 1) for _ in range(chance.choice((0, 0, 3, 30)))}
    if chance.random() < 0.2:
        at = chance.randrange(len(stream) + 1)
        cuts |= set(range(at, min(at + 40, len(stream))))
    places = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places) if end > start]


def frames_of(session: bytes) -> list[bytes]:
    """The header and the frames, as far as there are any; what is left over comes last."""
    found = [session[:8]]
    at = 8
    while at + 8 <= len(session):
        size = int.from_bytes(session[at + 3 : at + 7])
        if at + size + 8 > len(session):
            break
        found.append(session[at : at + size + 8])
        at += size + 8
    return [*found, session[at:]]


def _flip(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    octets = bytearray(session)
    for _ in range(chance.randint(1, 8)):
        if octets:
            octets[chance.randrange(len(octets))] = chance.choice((*EDGES, chance.randrange(256)))
    return bytes(octets)


def _cut(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    return session[: chance.randrange(len(session) + 1)]


def _drop(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(session) + 1)
    return session[:at] + session[at + chance.randint(1, 40) :]


def _insert(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(session) + 1)
    return session[:at] + chance.randbytes(chance.randint(1, 40)) + session[at:]


def _number(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A number with meaning in place of four octets."""
    at = chance.randrange(max(len(session) - 4, 1))
    return session[:at] + struct.pack(">I", chance.choice(NUMBERS)) + session[at + 4 :]


def _frames(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Frames lost, doubled, swapped, or taken from another session."""
    found = frames_of(session)
    for _ in range(chance.randint(1, 4)):
        at, other = chance.randrange(len(found)), chance.randrange(len(found))
        change = chance.randrange(4)
        if change == 0 and len(found) > 1:
            del found[at]
        elif change == 1:
            found.insert(at, found[other])
        elif change == 2:
            found[at], found[other] = found[other], found[at]
        else:
            found.insert(at, chance.choice(frames_of(chance.choice(others))))
    return b"".join(found)


def _frame(session: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A frame of another kind, on another channel, with another method or other content; its size fits."""
    found = frames_of(session)
    at = chance.randrange(len(found))
    frame = found[at]
    if len(frame) < 8:
        return session
    kind, channel, payload = frame[0], int.from_bytes(frame[1:3]), frame[7:-1]
    change = chance.randrange(5)
    if change == 0:
        kind = chance.choice((1, 2, 3, 8, chance.randrange(256)))
    elif change == 1:
        channel = chance.choice((0, 1, 2, 3, 2047, 40000, 65535))
    elif change == 2:
        payload = struct.pack(">I", chance.choice(METHOD_IDS)) + payload[4:]
    elif change == 3:
        payload = _flip(payload, others, chance)
    else:
        payload = _drop(payload, others, chance) if chance.random() < 0.5 else _insert(payload, others, chance)
    found[at] = struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"
    return b"".join(found)


Mutation = Callable[[bytes, list[bytes], random.Random], bytes]
MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _drop, _insert, _number, _frames, _frame, _frame, _frame)
