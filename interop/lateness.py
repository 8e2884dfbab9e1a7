"""What a program does within a time, and does again when this machine was too slow for it.

A message that lives for a second must be looked at before the second is over. On a busy machine the program may come
too late, and then what it sees says nothing about the broker: it begins anew. What the broker does wrong it does again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

TRIES = 6

Seen = TypeVar("Seen")


class Late(Exception):
    """This machine was too slow: what was seen says nothing."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises ``Late``, whatever else is raised, when the block takes longer."""
    over = time.monotonic() + seconds
    late = Late(f"it took more than {seconds} s")
    try:
        yield
    except Exception as error:
        if time.monotonic() >= over:
            raise late from error
        raise
    if time.monotonic() >= over:
        raise late


def punctual(act: Callable[[], Seen]) -> Seen:
    """What ``act`` returns, which is called again as long as it is late; raises ``Late`` after TRIES times."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except Late:
            continue
    return act()
