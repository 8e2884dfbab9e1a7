"""Password hashes, against vectors that RabbitMQ 3.10.8 made."""

from __future__ import annotations

import base64
import hashlib

import pytest

from amqpd.auth import passwords
from amqpd.auth.passwords import MD5, SCRYPT, SHA256, SHA512

# From `rabbitmqctl export_definitions` (sha256) and RabbitMQ's own hashing modules (sha512, md5).
RABBITMQ_VECTORS = [
    (SHA256, "pässword 1", "RWaX9boo7nwiP+AjbCvhqSx6UUw5xwfmZspUVg1F1qbjkKa1"),
    (SHA256, "x", "vzAkmbZ3TwrfgW35b/irTN+lXLsZxWDfWkgUgd1MDXgO6JZj"),
    (
        SHA512,
        "s3cret",
        "Bg6eojlajzq1qgRJrW2U+lqX0ZvHwSl3M2YDt49yZpT2XGwxcFLldPTP8a46J8gYyMmspRuQ2LxIs4D5b2/unaDPCEw=",
    ),
    (MD5, "s3cret", "bCN927Kj1mw0wZKjYsCngvdetx4="),
]
SALT = bytes(range(16))


@pytest.mark.parametrize(("algorithm", "password", "stored"), RABBITMQ_VECTORS)
def test_hash_made_by_rabbitmq_verifies_its_password_only(algorithm: str, password: str, stored: str) -> None:
    passwords.check_hash(stored, algorithm)
    assert passwords.verify(stored, algorithm, password.encode())
    assert not passwords.verify(stored, algorithm, password.encode() + b" ")
    assert not passwords.verify(stored, algorithm, b"")


@pytest.mark.parametrize(("algorithm", "password", "stored"), RABBITMQ_VECTORS)
def test_hash_for_rabbitmq_is_the_one_it_would_make(algorithm: str, password: str, stored: str) -> None:
    salt, _ = passwords.parse_rabbitmq(stored, algorithm)
    assert passwords.create_rabbitmq(password.encode(), salt, algorithm) == stored


def test_hash_of_one_algorithm_does_not_verify_under_another() -> None:
    for algorithm, password, stored in RABBITMQ_VECTORS:
        for other in passwords.ALGORITHMS:
            assert passwords.verify(stored, other, password.encode()) == (other == algorithm)


def test_new_hash_is_scrypt_with_its_parameters_and_salt() -> None:
    stored = passwords.create(b"secret", SALT)
    parts = passwords.parse_scrypt(stored)
    assert (parts.n, parts.r, parts.p, parts.salt) == (16384, 8, 1, SALT)
    assert parts.digest == hashlib.scrypt(b"secret", salt=SALT, n=16384, r=8, p=1, maxmem=2**26, dklen=32)
    assert passwords.format_scrypt(parts) == stored
    passwords.check_hash(stored, SCRYPT)
    assert passwords.verify(stored, SCRYPT, b"secret")
    assert not passwords.verify(stored, SCRYPT, b"secre")


def test_hash_with_other_parameters_verifies() -> None:
    digest = hashlib.scrypt(b"secret", salt=b"saltsalt", n=16, r=2, p=3, dklen=48)
    stored = passwords.format_scrypt(passwords.ScryptHash(16, 2, 3, b"saltsalt", digest))
    assert passwords.verify(stored, SCRYPT, b"secret")
    assert not passwords.verify(stored, SCRYPT, b"Secret")


def test_largest_hash_that_may_be_stored_can_be_verified() -> None:
    parts = passwords.ScryptHash(65536, 8, 1, SALT, bytes(32))
    assert 128 * parts.n * parts.r == passwords.SCRYPT_MEMORY_BYTES_MAX
    assert not passwords.verify(passwords.format_scrypt(parts), SCRYPT, b"secret")


def test_dummy_hash_costs_what_a_new_hash_costs_and_verifies_nothing() -> None:
    dummy = passwords.parse_scrypt(passwords.DUMMY_HASH)
    new = passwords.parse_scrypt(passwords.create(b"x", SALT))
    assert dummy[:3] == new[:3]
    assert len(dummy.salt) == len(new.salt)
    assert len(dummy.digest) == len(new.digest)
    assert not passwords.verify(passwords.DUMMY_HASH, SCRYPT, b"guest")


@pytest.mark.parametrize("algorithm", passwords.ALGORITHMS)
def test_empty_hash_may_be_stored_and_verifies_nothing(algorithm: str) -> None:
    passwords.check_hash("", algorithm)
    assert not passwords.verify("", algorithm, b"")
    assert not passwords.verify("", algorithm, b"x")


def test_hash_of_an_empty_password_verifies_nothing() -> None:
    # RabbitMQ makes one for a user with a blank password, and refuses the login as well.
    stored = base64.b64encode(b"salt" + hashlib.sha256(b"salt").digest()).decode()
    passwords.check_hash(stored, SHA256)
    assert not passwords.verify(stored, SHA256, b"")


_SALT = "AAECAwQFBgcICQoLDA0ODw=="
_DIGEST = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.mark.parametrize(
    ("stored", "algorithm", "says"),
    [
        ("RWaX", "rabbit_password_hashing_bcrypt", "unknown password hashing algorithm"),
        ("", "nonsense", "unknown password hashing algorithm"),
        ("RWaX", SHA256, "holds 36 bytes, this one holds 3"),
        ("no base64!", SHA256, "not base64"),
        ("ä", SHA512, "not base64"),
        (RABBITMQ_VECTORS[0][2], MD5, "holds 20 bytes, this one holds 36"),
        ("secret", SCRYPT, "has the form"),
        (f"n=16384,r=8,p=1${_SALT}", SCRYPT, "has the form"),
        (f"n=16384,r=8,p=1${_SALT}${_DIGEST}\n", SCRYPT, "not base64"),
        (f"n=16383,r=8,p=1${_SALT}${_DIGEST}", SCRYPT, "power of two"),
        (f"n=1,r=8,p=1${_SALT}${_DIGEST}", SCRYPT, "power of two"),
        (f"n=0,r=8,p=1${_SALT}${_DIGEST}", SCRYPT, "power of two"),
        (f"n=16,r=0,p=1${_SALT}${_DIGEST}", SCRYPT, "positive"),
        (f"n=16,r=1,p=0${_SALT}${_DIGEST}", SCRYPT, "positive"),
        (f"n=131072,r=8,p=1${_SALT}${_DIGEST}", SCRYPT, "at most"),
        (f"n=16384,r=8,p=9${_SALT}${_DIGEST}", SCRYPT, "at most"),
        (f"n=16384,r=8,p=1$AAAA${_DIGEST}", SCRYPT, "salt of 8 bytes"),
        (f"n=16384,r=8,p=1${_SALT}$AAAA", SCRYPT, "digest of 32"),
        (f"n=16384,r=8,p=1${_SALT}${'A' * 600}", SCRYPT, "has the form"),
    ],
)
def test_bad_hash_is_refused_with_a_reason_and_verifies_nothing(stored: str, algorithm: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        passwords.check_hash(stored, algorithm)
    assert not passwords.verify(stored, algorithm, b"secret")


def test_empty_password_and_wrong_salt_cannot_be_hashed() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        passwords.create(b"", SALT)
    with pytest.raises(ValueError, match="16 bytes, not 4"):
        passwords.create(b"x", b"salt")
    with pytest.raises(ValueError, match="must not be empty"):
        passwords.create_rabbitmq(b"", b"salt")
    with pytest.raises(ValueError, match="4 bytes, not 16"):
        passwords.create_rabbitmq(b"x", SALT)
    with pytest.raises(ValueError, match="unknown password hashing algorithm"):
        passwords.create_rabbitmq(b"x", b"salt", SCRYPT)
