"""Logging in: who gets in, and what a refusal costs, counted in hashes."""

from __future__ import annotations

import hashlib

import pytest

from amqpd.auth.attempt import VerifiedPasswords
from amqpd.auth.backend import AuthFailed, Credentials, User
from amqpd.auth.passwords import SCRYPT, SHA256, ScryptHash, create_rabbitmq, format_scrypt
from amqpd.auth.users import Users
from tests.auth.support import SCRYPT_OF_SECRET, CountedHashes, make_users, sha256_of


@pytest.fixture
def hashes() -> CountedHashes:
    return CountedHashes()


def populated(hashes: CountedHashes, verified: VerifiedPasswords | None = None) -> Users:
    users = make_users(hashes=hashes, verified=verified)
    users.add_user("modern", SCRYPT_OF_SECRET, SCRYPT, ["monitoring"])
    users.add_user("imported", sha256_of("secret"), SHA256, ["management"])
    users.add_user("guest", SCRYPT_OF_SECRET, SCRYPT)
    users.add_user("certified", "", SCRYPT)
    return users


@pytest.fixture
def users(hashes: CountedHashes) -> Users:
    return populated(hashes)


def login(users: Users, name: str, password: bytes | None, loopback: bool = True) -> User:
    attempt = users.authenticate(Credentials(name, password, loopback))
    return attempt.user(attempt.check())


def test_right_password_gives_the_user_with_tags(users: Users) -> None:
    assert login(users, "modern", b"secret") == User("modern", ("monitoring",))
    assert login(users, "imported", b"secret") == User("imported", ("management",))


REFUSED = [
    ("modern", b"wrong", True, "invalid credentials"),
    ("imported", b"wrong", True, "invalid credentials"),
    ("nobody", b"secret", True, "invalid credentials"),
    ("nobody", b"", True, "invalid credentials"),
    ("guest", b"secret", False, "can only connect via localhost"),
    ("guest", b"wrong", False, "can only connect via localhost"),
    ("certified", b"secret", True, "has no password"),
    ("certified", b"", True, "blank password"),
    ("modern", b"", True, "blank password"),
]


@pytest.mark.parametrize(("name", "password", "loopback", "reason"), REFUSED)
def test_refused_login_costs_one_scrypt_whatever_the_reason(
    users: Users, hashes: CountedHashes, name: str, password: bytes, loopback: bool, reason: str
) -> None:
    attempt = users.authenticate(Credentials(name, password, loopback))
    assert not attempt.quick
    assert not hashes.algorithms, "the costly part is left to check()"
    passed = attempt.check()
    assert not passed
    assert hashes.scrypts == 1
    with pytest.raises(AuthFailed, match=reason):
        attempt.user(passed)


def test_refused_login_stays_refused_when_the_caller_says_it_passed(users: Users) -> None:
    for name, password, loopback, reason in REFUSED:
        if reason == "invalid credentials" and name != "nobody":
            continue  # there the check alone decides
        attempt = users.authenticate(Credentials(name, password, loopback))
        with pytest.raises(AuthFailed, match=reason):
            attempt.user(True)


def test_successful_login_with_an_imported_hash_needs_no_dummy(users: Users, hashes: CountedHashes) -> None:
    login(users, "imported", b"secret")
    assert hashes.algorithms == [SHA256]
    assert hashes.dummies == 0


def test_guest_is_let_in_from_loopback_only(users: Users) -> None:
    assert login(users, "guest", b"secret", loopback=True).name == "guest"
    assert login(users, "modern", b"secret", loopback=False).name == "modern"


def test_loopback_users_are_configurable() -> None:
    anywhere = make_users(loopback_users=())
    anywhere.add_user("guest", SCRYPT_OF_SECRET)
    assert login(anywhere, "guest", b"secret", loopback=False).name == "guest"
    local = make_users(loopback_users={"admin"})
    local.add_user("admin", SCRYPT_OF_SECRET)
    with pytest.raises(AuthFailed, match="localhost"):
        login(local, "admin", b"secret", loopback=False)


def test_proven_name_needs_no_hash_but_must_exist_and_be_allowed(users: Users, hashes: CountedHashes) -> None:
    attempt = users.authenticate(Credentials("certified", None, False))
    assert attempt.quick
    assert attempt.user(attempt.check()) == User("certified", ())
    assert not users.authenticate(Credentials("guest", None, False)).check()
    with pytest.raises(AuthFailed, match="localhost"):
        login(users, "guest", None, loopback=False)
    with pytest.raises(AuthFailed, match="invalid credentials"):
        login(users, "nobody", None)
    assert not hashes.algorithms


def test_user_changed_during_the_check_is_refused(users: Users) -> None:
    attempt = users.authenticate(Credentials("modern", b"secret", True))
    passed = attempt.check()
    assert passed
    users.set_password("modern", sha256_of("new"), SHA256)
    with pytest.raises(AuthFailed, match="changed or deleted"):
        attempt.user(passed)


def test_user_deleted_during_the_check_is_refused(users: Users) -> None:
    for password in (b"secret", None):
        attempt = users.authenticate(Credentials("imported", password, True))
        passed = attempt.check()
        assert passed
        users.delete_user("imported")
        with pytest.raises(AuthFailed, match="changed or deleted"):
            attempt.user(passed)
        users.add_user("imported", sha256_of("secret"), SHA256)


def test_check_works_on_a_snapshot(users: Users) -> None:
    attempt = users.authenticate(Credentials("modern", b"secret", True))
    users.delete_user("modern")
    assert attempt.check()


def test_tags_set_during_the_check_are_the_ones_that_count(users: Users) -> None:
    attempt = users.authenticate(Credentials("modern", b"secret", True))
    users.set_tags("modern", ["administrator"])
    assert attempt.user(attempt.check()).tags == ("administrator",)


KEY = bytes(32)


def test_verified_password_is_not_hashed_again(hashes: CountedHashes) -> None:
    users = populated(hashes, VerifiedPasswords(KEY))
    login(users, "modern", b"secret")
    assert hashes.scrypts == 1
    attempt = users.authenticate(Credentials("modern", b"secret", True))
    assert attempt.quick
    assert attempt.user(attempt.check()) == User("modern", ("monitoring",))
    assert hashes.scrypts == 1


def test_without_the_memory_each_login_is_hashed(users: Users, hashes: CountedHashes) -> None:
    login(users, "modern", b"secret")
    login(users, "modern", b"secret")
    assert hashes.scrypts == 2


def test_wrong_password_is_hashed_each_time_and_not_remembered(hashes: CountedHashes) -> None:
    users = populated(hashes, VerifiedPasswords(KEY))
    login(users, "modern", b"secret")
    for count in (2, 3):
        with pytest.raises(AuthFailed):
            login(users, "modern", b"wrong")
        assert hashes.scrypts == count


def test_changed_password_is_verified_anew(hashes: CountedHashes) -> None:
    users = populated(hashes, VerifiedPasswords(KEY))
    login(users, "imported", b"secret")
    users.set_password("imported", create_rabbitmq(b"new", b"tlas"), SHA256)
    with pytest.raises(AuthFailed):
        login(users, "imported", b"secret")
    assert login(users, "imported", b"new").name == "imported"
    assert not populated(hashes).authenticate(Credentials("imported", b"secret", True)).quick


def test_remembered_password_does_not_pass_from_elsewhere_or_after_deletion(hashes: CountedHashes) -> None:
    verified = VerifiedPasswords(KEY)
    users = populated(hashes, verified)
    account = users.users["guest"]
    login(users, "guest", b"secret")
    assert verified.knows(account, b"secret")
    with pytest.raises(AuthFailed, match="localhost"):
        login(users, "guest", b"secret", loopback=False)
    users.delete_user("guest")
    assert not verified.knows(account, b"secret")


def test_emptied_password_is_forgotten_at_once(hashes: CountedHashes) -> None:
    users = populated(hashes, VerifiedPasswords(KEY))
    login(users, "modern", b"secret")
    users.set_password("modern", "")
    with pytest.raises(AuthFailed, match="has no password"):
        login(users, "modern", b"secret")


def test_key_of_the_memory_must_be_long() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        VerifiedPasswords(b"short")


def test_small_scrypt_of_the_tests_is_a_real_one() -> None:
    digest = hashlib.scrypt(b"secret", salt=b"saltsalt", n=2, r=1, p=1, dklen=32)
    assert format_scrypt(ScryptHash(2, 1, 1, b"saltsalt", digest)) == SCRYPT_OF_SECRET
