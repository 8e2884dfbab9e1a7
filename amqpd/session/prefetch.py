"""How much a channel's consumers may have in flight (basic.qos, spec 1.8.3.1). Hot.

1. ``global=false`` sets what consumers created later get; running ones keep theirs. It drops the channel's limit.
2. ``global=true`` sets one limit for all consumers of the channel, effective at once; both limits must allow.
3. 0 means no limit. Consumers without acknowledgement and basic.get are never limited.

All three seen on RabbitMQ 3.10.8 (interop/conformance/test_basic.py).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.queue import Consumer

# A client that never acknowledges, without any limit of its own, stops getting messages here.
UNACKED_MAX: Final = 1_000_000


@final
class Prefetch:
    """``in_flight``: messages of the channel's consumers that are not settled."""

    def __init__(self) -> None:
        self.per_consumer: i64 = 0
        self.per_channel: i64 = 0
        self.in_flight: i64 = 0

    def set(self, count: i64, per_channel: bool) -> None:
        if per_channel:
            self.per_channel = count
        else:
            self.per_consumer = count
            self.per_channel = 0

    def allows(self, consumer: Consumer) -> bool:
        if consumer.prefetch and consumer.unacked >= consumer.prefetch:
            return False
        if self.per_channel and self.in_flight >= self.per_channel:
            return False
        return self.in_flight < UNACKED_MAX

    def resumes_all(self) -> bool:
        """After one less is in flight: whether any consumer of the channel may have waited for that."""
        return self.per_channel != 0 or self.in_flight == UNACKED_MAX - 1
