"""What other threads hand to the trio thread: calls to be made there, and a descriptor that says so.

The poller watches the descriptor with its sockets, so that a committed batch wakes it as directly as a client does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

Call = tuple[Callable[..., None], tuple[object, ...]]


class Inbox:
    """``fd`` is readable while calls wait."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._calls: deque[Call] = deque()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Have ``function`` called on the trio thread. From any thread; returns at once."""
        self._calls.append((function, arguments))
        os.eventfd_write(self.fd, 1)

    def make_calls(self) -> None:
        """Make the calls that wait. On the trio thread."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return
        # The counter was reset first: a call that comes from now on makes the descriptor readable again.
        for _ in range(len(self._calls)):
            function, arguments = self._calls.popleft()
            function(*arguments)
