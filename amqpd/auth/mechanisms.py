"""SASL: from the mechanism and the response of connection.start-ok to a login.

``Mechanisms.begin`` gives a ``Login``, or a ``Challenge`` for mechanisms that ask back (connection.secure).
A login is then tried on a back end in three steps, the middle one in a thread unless it is quick:

    attempt = login.attempt(backend)          # the broker's thread: takes a snapshot
    passed = attempt.check()                  # any thread: the hash
    user = attempt.user(passed)               # the broker's thread: a User, or AuthFailed

``AuthFailed`` is answered with 403 when the client understands it. ``MechanismError`` is the client's
mistake; RabbitMQ closes the socket after three seconds without a word (seen on 3.10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol, final

from amqpd.auth.amqplain import read_strings
from amqpd.auth.backend import Attempt, AuthFailed, Backend, Credentials, User
from amqpd.auth.certificates import CertificateName

DEFAULT_MECHANISMS: Final = ("PLAIN", "AMQPLAIN")

CR_DEMO_CHALLENGE: Final = b"Please tell me your password"
CR_DEMO_ANSWER: Final = b"My password is "


class MechanismError(Exception):
    """The mechanism is not offered, or its response is malformed. The text is for the log."""


class Peer(NamedTuple):
    """Who is at the other end, as far as the socket knows.

    ``certificate`` is what ``getpeercert()`` returned: None without TLS, empty when no certificate was
    verified.
    """

    address: str
    loopback: bool
    certificate: Mapping[str, object] | None


@final
class Login:
    """Somebody who wants to come in, with what they brought."""

    def __init__(self, mechanism: str, credentials: Credentials) -> None:
        self.mechanism: Final = mechanism
        self.credentials: Final = credentials

    @property
    def username(self) -> str:
        return self.credentials.username

    def attempt(self, backend: Backend) -> Attempt:
        """Begin the three steps that the module describes."""
        return backend.authenticate(self.credentials)

    def verify(self, backend: Backend) -> User:
        """All three steps at once: blocks for the time of a hash. Raises AuthFailed."""
        attempt = self.attempt(backend)
        return attempt.user(attempt.check())


@final
class Challenge:
    """A question to be sent in connection.secure; ``respond`` takes the answer of connection.secure-ok."""

    def __init__(self, text: bytes, respond: Callable[[bytes], Login | Challenge]) -> None:
        self.text: Final = text
        self.respond: Final = respond


class Mechanism(Protocol):
    """One way to log in."""

    @property
    def name(self) -> str: ...

    def offered(self, peer: Peer) -> bool:
        """Whether this peer may use it; it is neither listed nor accepted otherwise."""

    def begin(self, response: bytes, peer: Peer) -> Login | Challenge:
        """Take the first response. Raises MechanismError or AuthFailed."""


@final
class Mechanisms:
    """The mechanisms that are switched on, in the order in which they are announced."""

    def __init__(self, enabled: Iterable[Mechanism]) -> None:
        self._by_name: Final = {mechanism.name: mechanism for mechanism in enabled}

    def offered(self, peer: Peer) -> list[str]:
        """The names for connection.start, to be joined by spaces."""
        return [name for name, mechanism in self._by_name.items() if mechanism.offered(peer)]

    def begin(self, mechanism: str, response: bytes, peer: Peer) -> Login | Challenge:
        """Take mechanism and response of connection.start-ok. Raises MechanismError or AuthFailed."""
        chosen = self._by_name.get(mechanism)
        if chosen is None or not chosen.offered(peer):
            raise MechanismError(f"unknown authentication mechanism '{mechanism[:255]}'")
        return chosen.begin(response, peer)


def configured(
    names: Iterable[str] = DEFAULT_MECHANISMS,
    certificate_name: CertificateName | None = None,
    anonymous_user: str = "guest",
) -> Mechanisms:
    """The built-in mechanisms of these names. Raises ValueError for a name that is none of them."""
    built_in: list[Mechanism] = [
        Plain(),
        Amqplain(),
        External(certificate_name or CertificateName()),
        Anonymous(anonymous_user),
        ChallengeDemo(),
    ]
    by_name = {mechanism.name: mechanism for mechanism in built_in}
    chosen: list[Mechanism] = []
    for name in names:
        if name not in by_name:
            raise ValueError(f"unknown authentication mechanism '{name}', known are {', '.join(by_name)}")
        chosen.append(by_name[name])
    return Mechanisms(chosen)


@final
class Plain:
    """NUL, user name, NUL, password. The identity to act as, before the first NUL, must be empty."""

    name: Final = "PLAIN"

    def offered(self, peer: Peer) -> bool:
        return True

    def begin(self, response: bytes, peer: Peer) -> Login:
        parts = response.split(b"\0")
        if len(parts) != 3 or parts[0]:
            raise MechanismError("PLAIN response is not NUL, user name, NUL, password")
        return _password_login(self.name, parts[1], parts[2], peer)


@final
class Amqplain:
    """The fields LOGIN and PASSWORD of a table."""

    name: Final = "AMQPLAIN"

    def offered(self, peer: Peer) -> bool:
        return True

    def begin(self, response: bytes, peer: Peer) -> Login:
        try:
            fields = read_strings(response, ("LOGIN", "PASSWORD"))
        except ValueError as error:
            raise MechanismError(f"AMQPLAIN response is not a field table: {error}") from None
        if len(fields) != 2:
            raise MechanismError("AMQPLAIN response is missing its LOGIN or PASSWORD field")
        username, password = fields["LOGIN"], fields["PASSWORD"]
        if username is None or password is None:
            # RabbitMQ 3.10 looks for a user who is called 8 when LOGIN is the integer 8: a refused login, no
            # error.
            raise AuthFailed("AMQPLAIN field LOGIN or PASSWORD is not a string")
        return _password_login(self.name, username, password, peer)


@final
class External:
    """The user named in a verified client certificate. The response does not matter."""

    name: Final = "EXTERNAL"

    def __init__(self, certificate_name: CertificateName) -> None:
        self._certificate_name: Final = certificate_name

    def offered(self, peer: Peer) -> bool:
        return bool(peer.certificate)

    def begin(self, response: bytes, peer: Peer) -> Login:
        username = self._certificate_name.of(peer.certificate or {})
        if not username:
            raise AuthFailed(f"the certificate has no user name ({self._certificate_name.login_from})")
        return Login(self.name, Credentials(username, None, peer.loopback))


@final
class Anonymous:
    """Everybody is one configured user. The response (a trace text) does not matter."""

    name: Final = "ANONYMOUS"

    def __init__(self, username: str) -> None:
        self._username: Final = username

    def offered(self, peer: Peer) -> bool:
        return True

    def begin(self, response: bytes, peer: Peer) -> Login:
        return Login(self.name, Credentials(self._username, None, peer.loopback))


@final
class ChallengeDemo:
    """RabbitMQ's demonstration of a challenge: the user name first, then the password when asked."""

    name: Final = "RABBIT-CR-DEMO"

    def offered(self, peer: Peer) -> bool:
        return True

    def begin(self, response: bytes, peer: Peer) -> Challenge:
        def respond(answer: bytes) -> Login:
            if not answer.startswith(CR_DEMO_ANSWER):
                raise MechanismError("RABBIT-CR-DEMO answer does not tell the password")
            return _password_login(self.name, response, answer[len(CR_DEMO_ANSWER) :], peer)

        return Challenge(CR_DEMO_CHALLENGE, respond)


def _password_login(mechanism: str, username: bytes, password: bytes, peer: Peer) -> Login:
    # A name that is no UTF-8 belongs to nobody; it goes the way of an unknown user.
    name = username.decode("utf-8", "replace")
    return Login(mechanism, Credentials(name, password, peer.loopback))
