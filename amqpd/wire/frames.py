"""Frames out of a byte stream (spec 4.2.3). Hot: no object for a frame, the reader itself is the frame."""

from __future__ import annotations

from typing import Final, final

from librt.strings import read_i16_be, read_i32_be
from mypy_extensions import i64

from amqpd.spec.constants import FRAME_END
from amqpd.spec.errors import FrameError, snippet

# RabbitMQ tolerates payloads this much above frame_max - 8: "quite a few clients get it wrong".
FRAME_SIZE_TOLERANCE: Final = 8


@final
class FrameReader:
    """Feed it bytes, call ``next_frame`` until it says False; in between its attributes are the frame.

    ``kind``, ``channel``: from the frame header. ``buffer[start:end]``: the payload.
    ``payload_max``: longest payload accepted, in octets; 0 means no limit.
    """

    def __init__(self, payload_max: i64) -> None:
        self.payload_max: i64 = payload_max
        self.buffer: bytes = b""
        self.at: i64 = 0
        self.kind: i64 = 0
        self.channel: i64 = 0
        self.start: i64 = 0
        self.end: i64 = 0
        # Pieces of a frame that is not complete yet: joined once, so that a frame sent octet by octet does
        # not cost a copy of all before it for each octet.
        self.pieces: list[bytes] = []
        self.pieces_size: i64 = 0
        self.wanted: i64 = 7

    def feed(self, data: bytes) -> None:
        """Add what was read from the socket; frames not taken yet stay in front of it."""
        rest: i64 = len(self.buffer) - self.at
        if rest:
            self.pieces.append(self.buffer[self.at :])
            self.pieces_size += rest
            self.buffer = b""
            self.at = 0
        if self.pieces_size:
            self.pieces.append(data)
            self.pieces_size += len(data)
            if self.pieces_size >= self.wanted:
                self.buffer = b"".join(self.pieces)
                self.pieces = []
                self.pieces_size = 0
                self.wanted = 7
        else:
            self.buffer = data
        if not self.pieces_size:
            self.at = 0

    def next_frame(self) -> bool:
        """Step to the next complete frame; False when more bytes are needed.

        Raises FrameError (501, closes the connection) on a frame that is too large or lacks its end octet.
        """
        if self.pieces_size:
            return False
        buffer = self.buffer
        at = self.at
        have: i64 = len(buffer) - at
        if have < 7:
            self.wanted = 7
            if have == 0:
                # An idle connection should not keep what it read last.
                self.buffer = b""
                self.at = 0
            return False
        size: i64 = i64(read_i32_be(buffer, at + 3)) & 0xFFFFFFFF
        if self.payload_max and size > self.payload_max + FRAME_SIZE_TOLERANCE:
            raise FrameError(f"type {buffer[at]}, all octets = <<>>: {{frame_too_large,{size},{self.payload_max}}}", 0)
        if have < size + 8:
            self.wanted = size + 8
            return False
        self.kind = i64(buffer[at])
        self.channel = i64(read_i16_be(buffer, at + 1)) & 0xFFFF
        self.start = at + 7
        self.end = at + 7 + size
        self.at = at + size + 8
        if i64(buffer[self.end]) != FRAME_END:
            shown = snippet(buffer[self.start : self.end])
            raise FrameError(f"type {self.kind}, {shown}: {{invalid_frame_end_marker,{buffer[self.end]}}}", 0)
        return True

    def pending(self) -> i64:
        """Octets received and not yet read as frames."""
        return len(self.buffer) - self.at + self.pieces_size
