"""The broker's time."""

from __future__ import annotations

import time
from typing import Final

# Deadlines of messages outlive the process, so time counts from 1970; it never jumps while the process lives.
_EPOCH_NS: Final = time.time_ns() - time.monotonic_ns()


def now_ms() -> int:
    """Milliseconds since 1970; never goes back while the process lives."""
    return (time.monotonic_ns() + _EPOCH_NS) // 1_000_000
