"""What the tests of this package share: a table of users with its journal, and a hash that is counted."""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.auth.attempt import VerifiedPasswords
from amqpd.auth.passwords import DUMMY_HASH, SCRYPT, SHA256, create_rabbitmq, verify
from amqpd.auth.users import LOOPBACK_USERS, Users
from amqpd.broker.batch import KINDS, Definition

# scrypt at its smallest, so that a test does not wait: n=2, r=1, p=1.
SCRYPT_OF_SECRET = "n=2,r=1,p=1$c2FsdHNhbHQ=$1pazaWFI7iSXJLTjb4ccs7OW1XPlIRFV+XIUMR/UnJg="


def sha256_of(password: str) -> str:
    return create_rabbitmq(password.encode(), b"salt", SHA256)


class CountedHashes:
    """Verifies as the real function does, but for the dummy, and keeps what was asked of it."""

    def __init__(self) -> None:
        self.algorithms: list[str] = []
        self.dummies = 0

    def __call__(self, password_hash: str, algorithm: str, password: bytes) -> bool:
        self.algorithms.append(algorithm)
        if password_hash == DUMMY_HASH:
            self.dummies += 1
            return False
        return verify(password_hash, algorithm, password)

    @property
    def scrypts(self) -> int:
        return self.algorithms.count(SCRYPT)


class Journal:
    """Takes definitions, as the broker's journal does, and replays them into new tables."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []

    def define(self, definition: Definition) -> None:
        kind = KINDS[definition.kind]
        columns = kind.key if definition.drop else kind.key | kind.columns
        assert set(definition.values) == set(columns), definition
        for column, value in definition.values.items():
            assert type(value) is columns[column], (definition, column)
        self.definitions.append(definition)

    def replayed(self) -> Users:
        users = Users(self.define)
        for definition in self.definitions:
            assert users.apply(definition)
        return users


def make_users(
    journal: Journal | None = None,
    hashes: CountedHashes | None = None,
    verified: VerifiedPasswords | None = None,
    loopback_users: Iterable[str] = LOOPBACK_USERS,
) -> Users:
    return Users(
        (journal or Journal()).define,
        loopback_users=loopback_users,
        verified=verified,
        check_password=hashes or verify,
    )
