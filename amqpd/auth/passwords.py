"""Password hashes: RabbitMQ's salted digests for imported users, scrypt for new ones.

A hash is kept as two strings: the name of its algorithm and the hash itself.

- ``rabbit_password_hashing_sha256``, ``..._sha512`` and ``..._md5``: base64(salt + digest(salt + password))
  with a salt of 4 bytes, as RabbitMQ exports them.
- ``scrypt``: ``n=16384,r=8,p=1$<base64 salt>$<base64 digest>``. A hash carries its own parameters, so they
  can be raised later without touching stored users.

An empty hash means that the user has no password and cannot log in with one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final, NamedTuple

SCRYPT: Final = "scrypt"
SHA256: Final = "rabbit_password_hashing_sha256"
SHA512: Final = "rabbit_password_hashing_sha512"
MD5: Final = "rabbit_password_hashing_md5"

# hashlib's name and the digest's length in bytes.
RABBITMQ_ALGORITHMS: Final[dict[str, tuple[str, int]]] = {
    SHA256: ("sha256", 32),
    SHA512: ("sha512", 64),
    MD5: ("md5", 16),
}
ALGORITHMS: Final[tuple[str, ...]] = (SCRYPT, *RABBITMQ_ALGORITHMS)
RABBITMQ_SALT_BYTES: Final = 4

# The memory of one hash is 128 * n * r bytes: 16 MiB. That makes guessing on graphics cards dear, costs a
# login some 30 ms, and leaves a login storm bounded: its memory is 16 MiB for each thread that verifies. r is
# the value the scrypt paper suggests; p = 1 because more of it would cost time and no memory.
SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
SCRYPT_SALT_BYTES: Final = 16
SCRYPT_DIGEST_BYTES: Final = 32

# A hash that comes with an import must not be able to ask for any amount of memory or time.
SCRYPT_MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
SCRYPT_P_MAX: Final = 8
HASH_LENGTH_MAX: Final = 512

_SCRYPT_FORM: Final = re.compile(r"n=([0-9]{1,8}),r=([0-9]{1,4}),p=([0-9]{1,2})\$([^$]+)\$([^$]+)", re.ASCII)


class ScryptHash(NamedTuple):
    """The parts of a scrypt hash string."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes


def create(password: bytes, salt: bytes) -> str:
    """Hash a new password with scrypt; ``salt`` is ``SCRYPT_SALT_BYTES`` random bytes from the caller.

    Takes some 30 ms and 16 MiB. Raises ValueError for an empty password or a salt of another length.
    """
    if not password:
        raise ValueError("a password must not be empty")
    if len(salt) != SCRYPT_SALT_BYTES:
        raise ValueError(f"the salt must be {SCRYPT_SALT_BYTES} bytes, not {len(salt)}")
    empty = ScryptHash(SCRYPT_N, SCRYPT_R, SCRYPT_P, salt, bytes(SCRYPT_DIGEST_BYTES))
    return format_scrypt(empty._replace(digest=_scrypt(empty, password)))


def create_rabbitmq(password: bytes, salt: bytes, algorithm: str = SHA256) -> str:
    """Hash a password the way RabbitMQ does, for tools that carry it there; ``salt`` is 4 random bytes.

    Raises ValueError for an empty password, a salt of another length or an unknown algorithm.
    """
    if not password:
        raise ValueError("a password must not be empty")
    if len(salt) != RABBITMQ_SALT_BYTES:
        raise ValueError(f"the salt must be {RABBITMQ_SALT_BYTES} bytes, not {len(salt)}")
    if algorithm not in RABBITMQ_ALGORITHMS:
        raise ValueError(_unknown(algorithm))
    return base64.b64encode(salt + _rabbitmq_digest(algorithm, salt, password)).decode("ascii")


def verify(password_hash: str, algorithm: str, password: bytes) -> bool:
    """Whether ``password`` has this hash, compared in constant time.

    False for an empty or malformed hash, an unknown algorithm and an empty password. Pure CPU, made to be run
    in a thread: scrypt releases the interpreter lock.
    """
    if not password_hash or not password:
        return False
    try:
        if algorithm == SCRYPT:
            parts = parse_scrypt(password_hash)
            return hmac.compare_digest(parts.digest, _scrypt(parts, password))
        salt, digest = parse_rabbitmq(password_hash, algorithm)
    except ValueError:
        return False
    return hmac.compare_digest(digest, _rabbitmq_digest(algorithm, salt, password))


def check_hash(password_hash: str, algorithm: str) -> None:
    """Raise ValueError, saying what is wrong, unless the hash can be stored; an empty one can."""
    if algorithm not in ALGORITHMS:
        raise ValueError(_unknown(algorithm))
    if not password_hash:
        return
    if algorithm == SCRYPT:
        parse_scrypt(password_hash)
    else:
        parse_rabbitmq(password_hash, algorithm)


def parse_rabbitmq(password_hash: str, algorithm: str) -> tuple[bytes, bytes]:
    """Return salt and digest of an exported hash; ValueError if it is not one of this algorithm."""
    if algorithm not in RABBITMQ_ALGORITHMS:
        raise ValueError(_unknown(algorithm))
    raw = _base64(password_hash)
    expected = RABBITMQ_SALT_BYTES + RABBITMQ_ALGORITHMS[algorithm][1]
    if len(raw) != expected:
        raise ValueError(f"a {algorithm} hash holds {expected} bytes, this one holds {len(raw)}")
    return raw[:RABBITMQ_SALT_BYTES], raw[RABBITMQ_SALT_BYTES:]


def parse_scrypt(password_hash: str) -> ScryptHash:
    """Return the parts of a scrypt hash; ValueError if it is malformed or asks for too much."""
    match = _SCRYPT_FORM.fullmatch(password_hash) if len(password_hash) <= HASH_LENGTH_MAX else None
    if match is None:
        raise ValueError("a scrypt hash has the form n=...,r=...,p=...$salt$digest")
    n, r, p = int(match[1]), int(match[2]), int(match[3])
    if n < 2 or n & (n - 1) or r < 1 or p < 1:
        raise ValueError("scrypt needs n to be a power of two above 1, r and p to be positive")
    if 128 * n * r > SCRYPT_MEMORY_BYTES_MAX or p > SCRYPT_P_MAX:
        raise ValueError(f"a scrypt hash may use {SCRYPT_MEMORY_BYTES_MAX} bytes and p={SCRYPT_P_MAX} at most")
    salt, digest = _base64(match[4]), _base64(match[5])
    # A digest of a byte or two would let in every hundredth password.
    if len(salt) < 8 or not SCRYPT_DIGEST_BYTES <= len(digest) <= 64:
        raise ValueError("a scrypt hash has a salt of 8 bytes or more and a digest of 32 to 64 bytes")
    return ScryptHash(n, r, p, salt, digest)


def format_scrypt(parts: ScryptHash) -> str:
    """The string that ``parse_scrypt`` reads."""
    salt = base64.b64encode(parts.salt).decode("ascii")
    digest = base64.b64encode(parts.digest).decode("ascii")
    return f"n={parts.n},r={parts.r},p={parts.p}${salt}${digest}"


def _scrypt(parts: ScryptHash, password: bytes) -> bytes:
    # OpenSSL counts a little more than the block memory, so its limit is set twice as high as ours.
    return hashlib.scrypt(
        password,
        salt=parts.salt,
        n=parts.n,
        r=parts.r,
        p=parts.p,
        maxmem=2 * SCRYPT_MEMORY_BYTES_MAX,
        dklen=len(parts.digest),
    )


def _rabbitmq_digest(algorithm: str, salt: bytes, password: bytes) -> bytes:
    # MD5 is here to read old exports only; a FIPS build allows it when told that it protects nothing.
    name = RABBITMQ_ALGORITHMS[algorithm][0]
    return hashlib.new(name, salt + password, usedforsecurity=algorithm != MD5).digest()


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the password hash is not base64: {error}") from None


def _unknown(algorithm: str) -> str:
    return f"unknown password hashing algorithm '{algorithm}', known are {', '.join(ALGORITHMS)}"


# What a login is checked against when there is nothing to check: no user, no password, not from this address.
# The digest is all zeros; that any password hashes to it is as likely as guessing a digest.
DUMMY_HASH: Final = format_scrypt(
    ScryptHash(SCRYPT_N, SCRYPT_R, SCRYPT_P, bytes(SCRYPT_SALT_BYTES), bytes(SCRYPT_DIGEST_BYTES))
)
