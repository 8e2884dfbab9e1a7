"""A login by password, and what spares the second one its hash.

Three rules keep a stranger from learning which users exist:

1. A refused password costs one scrypt, whatever the reason: no such user, no password set, not from this
   address, wrong. Where there is no hash to check, a dummy is checked; an imported fast hash is followed by
   the dummy.
2. The refusal is the same to the client; the reason goes to the log.
3. Hashes are compared in constant time.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple, final

from amqpd.auth.backend import AuthFailed, User
from amqpd.auth.passwords import DUMMY_HASH, SCRYPT

Verify = Callable[[str, str, bytes], bool]  # hash, algorithm, password


class Account(NamedTuple):
    """A user as it is stored."""

    name: str
    password_hash: str
    hashing_algorithm: str
    tags: tuple[str, ...]


@final
class VerifiedPasswords:
    """Which password each user last logged in with, as a keyed digest of hash and password.

    scrypt is slow so that a stolen table of hashes is of little use. A client that connects again with the
    password it had need not pay for that: a digest under a key that lives only in this process tells as much.
    It is bound to the stored hash, so a changed password is checked anew. One entry a user.
    """

    def __init__(self, key: bytes) -> None:
        """``key`` is 32 random bytes, new in each process."""
        if len(key) < 32:
            raise ValueError("the key must have 32 bytes or more")
        self._key: Final = key
        self._digests: Final[dict[str, bytes]] = {}

    def knows(self, account: Account, password: bytes) -> bool:
        """Whether this is the password that was verified against this hash."""
        digest = self._digests.get(account.name)
        return digest is not None and hmac.compare_digest(digest, self._digest(account, password))

    def remember(self, account: Account, password: bytes) -> None:
        """Keep a password that was verified."""
        self._digests[account.name] = self._digest(account, password)

    def forget(self, name: str) -> None:
        """The user is gone."""
        self._digests.pop(name, None)

    def _digest(self, account: Account, password: bytes) -> bytes:
        # Hashes and algorithm names hold no NUL, so the parts cannot run into each other.
        stored = f"{account.hashing_algorithm}\0{account.password_hash}\0".encode()
        return hmac.digest(self._key, stored + password, "sha256")


@final
class PasswordAttempt:
    """One login of ``Users``; see ``backend.Attempt`` for the steps."""

    def __init__(
        self,
        account: Account | None,
        refusal: str,
        password: bytes | None,
        verify: Verify,
        verified: VerifiedPasswords | None,
        current: Callable[[str], Account | None],
    ) -> None:
        """``refusal`` is why this login cannot succeed, '' if it can; without an account there is one."""
        self._account: Final = account
        self._refusal: Final = refusal
        self._password: Final = password
        self._verify: Final = verify
        self._verified: Final = verified
        self._current: Final = current
        self._known: Final = (
            not refusal
            and account is not None
            and password is not None
            and verified is not None
            and verified.knows(account, password)
        )
        self.quick: Final = password is None or self._known

    def check(self) -> bool:
        if self._password is None or self._known:
            return not self._refusal
        if self._refusal or self._account is None:
            self._verify(DUMMY_HASH, SCRYPT, self._password)
            return False
        _, password_hash, algorithm, _ = self._account
        if self._verify(password_hash, algorithm, self._password):
            return True
        if algorithm != SCRYPT:
            self._verify(DUMMY_HASH, SCRYPT, self._password)
        return False

    def user(self, passed: bool) -> User:
        account = self._account
        if self._refusal or account is None:
            raise AuthFailed(self._refusal)
        if not passed:
            raise AuthFailed(f"user '{account.name}' - invalid credentials")
        # The check may have run in a thread while the user was changed.
        now = self._current(account.name)
        if now is None or now[1:3] != account[1:3]:
            raise AuthFailed(f"user '{account.name}' was changed or deleted during the login")
        if self._password is not None and self._verified is not None and not self._known:
            self._verified.remember(account, self._password)
        return User(now.name, now.tags)
