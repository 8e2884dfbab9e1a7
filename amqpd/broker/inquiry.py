"""Questions of an operator that only the store can answer: read in a thread, answered by the broker.

The broker never waits, so a command that needs the store returns an ``Inquiry``. Who runs the command calls ``read``
where waiting is allowed, and then ``answer`` where the broker may be touched. Meanwhile the broker goes on: what was
read may be out of date, and ``answer`` has to look.
"""

from __future__ import annotations

from amqpd.broker.shard import PageSource


class Inquiry:
    def read(self, source: PageSource) -> None:
        """Blocks. Touches nothing but ``source`` and this object. Raises what the store raises."""
        raise NotImplementedError

    def answer(self) -> object:
        """What JSON can carry, or another ``Inquiry``. Raises ValueError to refuse the command, with one line."""
        raise NotImplementedError

    def end(self) -> None:
        """Always called in the end, also when it could not be read; where the broker may be touched."""
