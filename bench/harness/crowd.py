"""A crowd: idle connections and idle queues that a broker holds while something else is measured."""

from __future__ import annotations

import resource
import sys

from bench.harness.client import Address, ClientError, Connection


class Crowd:
    """Holds ``connections`` open, each with a channel, and ``queues`` durable empty queues, until `leave`."""

    def __init__(self, address: Address, prefix: str) -> None:
        self.address = address
        self.prefix = prefix
        self.connections: list[Connection] = []
        self.queues: list[str] = []

    def connect(self, count: int) -> None:
        """Open ``count`` more connections; each is fully open on return."""
        raise_file_limit()
        self.connections.extend(Connection(self.address) for _ in range(count))

    def declare(self, count: int) -> None:
        """Declare ``count`` queues."""
        self.queues = [f"{self.prefix}.idle{index:05}" for index in range(count)]
        with Connection(self.address) as connection:
            connection.declare_many(self.queues)

    def leave(self) -> None:
        """Close the connections and delete the queues."""
        while self.connections:
            self.connections.pop().close()
        if not self.queues:
            return
        try:
            with Connection(self.address) as connection:
                connection.delete_many(self.queues)
        except (ClientError, OSError) as error:
            # Not raised: it would hide why the crowd leaves early, most likely that the broker has died.
            print(f"idle queues {self.prefix}.* may be left: {error}", file=sys.stderr)
        self.queues.clear()


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one; brokers started later inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
