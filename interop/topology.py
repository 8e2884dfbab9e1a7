"""A vhost with something of every kind in it, and users with every kind of hash: what definitions must carry."""

import base64
import hashlib
from typing import Any

ALGORITHMS = {"md5": "md5", "sha256": "sha256", "sha512": "sha512"}
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "limited": {"x-max-length": 100000, "x-max-length-bytes": 2**40, "x-overflow": "reject-publish"},
    "expiring": {"x-message-ttl": 60000, "x-expires": 3600000},
    "dead": {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "limited"},
    "levels": {"x-max-priority": 5, "x-queue-type": "classic"},
    "lazy": {"x-queue-mode": "lazy", "x-queue-version": 2},
    "single": {"x-single-active-consumer": True},
    "replicated": {"x-queue-type": "quorum", "x-delivery-limit": 5},
    "own-arguments": {"text": "ü", "number": -5, "big": 2**40, "flag": False, "list": [1, "a"], "table": {"k": "v"}},
    "ünïcode": {},
}
EXCHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "orders": ("topic", {"alternate-exchange": "unrouted"}),
    "unrouted": ("fanout", {}),
    "dlx": ("direct", {}),
    "by-headers": ("headers", {"note": "x"}),
}


def account(algorithm: str) -> dict[str, Any]:
    """A user whose password is the algorithm's name."""
    salt = b"\1\2\3\4"
    digest = hashlib.new(ALGORITHMS[algorithm], salt + algorithm.encode()).digest()
    return {
        "password_hash": base64.b64encode(salt + digest).decode(),
        "hashing_algorithm": f"rabbit_password_hashing_{algorithm}",
        "tags": "monitoring,custom",
    }


def declare(channel: Any) -> None:
    """Declare all of it; a second time finds it there."""
    for name, (kind, arguments) in EXCHANGES.items():
        channel.exchange_declare(name, kind, durable=True, internal=name == "unrouted", arguments=arguments)
    for name, arguments in QUEUES.items():
        channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_declare("transient", auto_delete=True)
    channel.queue_declare("mine", exclusive=True)
    channel.queue_bind("plain", "orders", "order.eu.*")
    channel.queue_bind("limited", "orders", "order.#")
    channel.queue_bind("limited", "dlx")
    channel.queue_bind("dead", "by-headers", "", arguments={"x-match": "any", "kind": "report", "n": 3})
    channel.queue_bind("dead", "by-headers", "", arguments={"x-match": "all", "kind": "invoice"})
    channel.queue_bind("lazy", "amq.topic", "#")
    channel.queue_bind("mine", "orders", "mine")
    channel.exchange_bind("unrouted", "orders", "lost")
