"""Permission rows and the questions asked of them.

1. A row belongs to a user and a vhost. No row: no access to the vhost, and nothing in it is allowed.
2. Configure, write and read are patterns searched for in the resource's name; '' and an invalid one deny.
3. A topic permission narrows one topic exchange further, for routing keys (write) and binding keys (read).
   No row: everything is allowed. ``{username}`` and ``{vhost}`` in its patterns stand for the literal names.

Channels ask once and keep the answer until ``revision`` changes, so a change takes effect at once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from amqpd.spec.patterns import matches

# The kinds of permission; the numbers are the fields of the rows below.
CONFIGURE: Final = 0
WRITE: Final = 1
READ: Final = 2

EXPANDED_PATTERNS_MAX: Final = 4096  # one for each user, vhost and pattern in use; more are expanded again

_VARIABLE: Final = re.compile(r"\{(username|vhost)\}")


class Permission(NamedTuple):
    """What a user may do in a vhost: three patterns."""

    configure: str
    write: str
    read: str


class TopicPermission(NamedTuple):
    """What routing keys a user may write to a topic exchange, and what binding keys read from it."""

    write: str
    read: str


class PermissionTables:
    """The rows in memory, and the answers."""

    def __init__(self) -> None:
        self.revision: int = 0
        self.permissions: dict[tuple[str, str], Permission] = {}  # by user, vhost
        self.topic_permissions: dict[tuple[str, str, str], TopicPermission] = {}  # by user, vhost, exchange

    def has_access(self, user: str, vhost: str) -> bool:
        """Whether the user may open the vhost: it has a permission row there, be it an empty one."""
        return (user, vhost) in self.permissions

    def may(self, user: str, vhost: str, resource: str, kind: int) -> bool:
        """Whether the user may ``kind`` (CONFIGURE, WRITE, READ) the exchange or queue of this name.

        The default exchange is asked for as ``amq.default``.
        """
        row = self.permissions.get((user, vhost))
        return row is not None and matches(row[kind], resource)

    def may_topic(self, user: str, vhost: str, exchange: str, routing_key: str, kind: int) -> bool:
        """Whether the user may WRITE this routing key to, or READ this binding key from, a topic exchange.

        Asked besides ``may``, not in its place. There is no topic permission to configure: CONFIGURE is
        allowed.
        """
        row = self.topic_permissions.get((user, vhost, exchange))
        if row is None or kind == CONFIGURE:
            return True
        return matches(expand(row.write if kind == WRITE else row.read, user, vhost), routing_key)


@lru_cache(maxsize=EXPANDED_PATTERNS_MAX)
def expand(pattern: str, user: str, vhost: str) -> str:
    """Put the names in the place of ``{username}`` and ``{vhost}``, escaped.

    One pass: a user who is called '{vhost}' is taken literally. RabbitMQ's third variable, ``{client_id}``,
    is for MQTT; it stays as it is and matches itself, as it does there.
    """
    names = {"username": re.escape(user), "vhost": re.escape(vhost)}
    return _VARIABLE.sub(lambda found: names[found[1]], pattern)
