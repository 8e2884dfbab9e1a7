"""A table of 16-octet keys with a number each, for millions of them.

A dict would take some 190 octets for each. Here keys lie side by side in buckets and are searched by ``bytes.find``;
the table grows by one bucket at a time (linear hashing), so no put ever waits for all of it to be made anew. Keys are
digests: any of their bits are as good as any others to choose a bucket by.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from amqpd_message_deduplication.keys import KEY_SIZE

BUCKET_KEYS: Final = 64  # on average; a search looks at half as many


class Index:
    """``count``: keys in it. Numbers are of 64 bits, signed."""

    def __init__(self) -> None:
        self.count = 0
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self._keys = [bytearray()]
        self._numbers = [array("q")]
        # Buckets below ``_split`` are chosen by one bit more than ``_mask`` has.
        self._mask = 0
        self._split = 0

    def get(self, key: bytes) -> int | None:
        bucket = self._bucket(key)
        at = _find(self._keys[bucket], key)
        return None if at < 0 else self._numbers[bucket][at]

    def put(self, key: bytes, number: int) -> None:
        """Add the key, or give it another number."""
        bucket = self._bucket(key)
        keys = self._keys[bucket]
        at = _find(keys, key)
        if at >= 0:
            self._numbers[bucket][at] = number
            return
        keys += key
        self._numbers[bucket].append(number)
        self.count += 1
        if self.count > BUCKET_KEYS * len(self._keys):
            self._grow()

    def fill(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Put many into an empty index: (number, key), each key once. Several times as fast as one by one."""
        assert not self.count
        while BUCKET_KEYS * (self._mask + 1) < len(rows):
            self._mask = 2 * self._mask + 1
        self._keys = all_keys = [bytearray() for _ in range(self._mask + 1)]
        self._numbers = all_numbers = [array("q") for _ in range(self._mask + 1)]
        mask = self._mask
        for number, key in rows:
            bucket = int.from_bytes(key[:8]) & mask
            all_keys[bucket] += key
            all_numbers[bucket].append(number)
        self.count = len(rows)

    def discard(self, key: bytes) -> None:
        """Take it out; one that is not there is passed over. The last of its bucket takes its place."""
        bucket = self._bucket(key)
        keys, numbers = self._keys[bucket], self._numbers[bucket]
        at = _find(keys, key)
        if at < 0:
            return
        last = numbers.pop()
        if at < len(numbers):
            numbers[at] = last
            keys[at * KEY_SIZE : (at + 1) * KEY_SIZE] = keys[-KEY_SIZE:]
        del keys[-KEY_SIZE:]
        self.count -= 1
        if not self.count:
            self._clear()

    def clear(self) -> None:
        self._clear()

    def _bucket(self, key: bytes) -> int:
        number = int.from_bytes(key[:8])
        bucket = number & self._mask
        return bucket if bucket >= self._split else number & (2 * self._mask + 1)

    def _grow(self) -> None:
        """Move half of the next bucket into a new one."""
        old = self._split
        keys, numbers = self._keys[old], self._numbers[old]
        self._keys.append(bytearray())
        self._numbers.append(array("q"))
        self._keys[old] = bytearray()
        self._numbers[old] = array("q")
        self._split += 1
        for at, number in enumerate(numbers):
            key = bytes(keys[at * KEY_SIZE : (at + 1) * KEY_SIZE])
            bucket = int.from_bytes(key[:8]) & (2 * self._mask + 1)
            self._keys[bucket] += key
            self._numbers[bucket].append(number)
        if self._split > self._mask:
            self._mask = 2 * self._mask + 1
            self._split = 0


def _find(keys: bytearray, key: bytes) -> int:
    """Which of the bucket's keys it is; -1 for none. A match across two keys is none."""
    at = keys.find(key)
    while at > 0 and at % KEY_SIZE:
        at = keys.find(key, at + 1)
    return at // KEY_SIZE if at >= 0 else -1
