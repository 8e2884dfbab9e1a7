"""What a session needs from whoever knows the users.

``Users`` is the back end that is built in. Others (LDAP, HTTP, tokens) have the same shape: an attempt is
made on the broker's thread, its costly part runs wherever the caller likes, and the answer is taken on the
broker's thread.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class AuthFailed(Exception):
    """The login is refused. The text is for the log only: the client must not learn why."""


class User(NamedTuple):
    """Somebody who is logged in."""

    name: str
    tags: tuple[str, ...]


class Credentials(NamedTuple):
    """Who somebody says they are, and how they prove it.

    ``password`` is None when the mechanism has proved the name already (a verified certificate) or needs no
    proof (anonymous). ``loopback`` tells whether the client is on this machine.
    """

    username: str
    password: bytes | None
    loopback: bool


class Attempt(Protocol):
    """One login under way."""

    @property
    def quick(self) -> bool:
        """Whether ``check`` costs next to nothing, so that a thread is not worth while."""

    def check(self) -> bool:
        """Do the costly part; touches nothing shared, so any thread may run it. Does not raise."""

    def user(self, passed: bool) -> User:
        """The user, given what ``check`` returned. Raises AuthFailed if the login is refused."""


class Backend(Protocol):
    """A source of users and permissions."""

    @property
    def revision(self) -> int:
        """Grows with each change; an answer below may be kept until then."""

    def authenticate(self, credentials: Credentials) -> Attempt:
        """Begin a login; does not raise and does not tell whether the user exists."""

    def has_access(self, user: str, vhost: str) -> bool:
        """Whether the user may open the vhost."""

    def may(self, user: str, vhost: str, resource: str, kind: int) -> bool:
        """Whether the user may CONFIGURE, WRITE or READ an exchange or queue."""

    def may_topic(self, user: str, vhost: str, exchange: str, routing_key: str, kind: int) -> bool:
        """Whether the user may WRITE a routing key to, or READ a binding key from, a topic exchange."""
