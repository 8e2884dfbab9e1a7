"""Where an import goes, and what became of an entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from amqpd.auth.users import Users
from amqpd.broker.broker import Broker
from amqpd.broker.vhost import VHost


class Verdict(StrEnum):
    """What became of an entry that was not refused."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"  # it was there already
    SKIPPED = "skipped"  # the broker makes such things by itself


@dataclass(frozen=True)
class Target:
    """``version``: that of the RabbitMQ that wrote the document; empty when it does not say."""

    broker: Broker
    users: Users
    version: str = ""

    def vhost(self, name: str) -> VHost:
        """Raises ValueError when there is none."""
        vhost = self.broker.vhosts.get(name)
        if vhost is None:
            raise ValueError(f"vhost '{name}' does not exist")
        return vhost
