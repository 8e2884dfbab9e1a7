"""SASL mechanisms: what is offered, what a response must look like, who it logs in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.auth.backend import AuthFailed, Credentials, User
from amqpd.auth.certificates import CertificateName
from amqpd.auth.mechanisms import Challenge, Login, MechanismError, Peer, configured
from tests.auth.support import SCRYPT_OF_SECRET, make_users

CERTIFICATE = {"subject": ((("commonName", "client"),),)}
LOCAL = Peer("127.0.0.1", True, None)
REMOTE = Peer("192.0.2.1", False, None)
CERTIFIED = Peer("192.0.2.1", False, CERTIFICATE)
UNVERIFIED = Peer("192.0.2.1", False, {})

ALL = ("PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS", "RABBIT-CR-DEMO")
mechanisms = configured(ALL, CertificateName("common_name"), "anybody")


def begin(mechanism: str, response: bytes, peer: Peer = LOCAL) -> Login:
    login = mechanisms.begin(mechanism, response, peer)
    assert isinstance(login, Login)
    assert login.mechanism == mechanism
    return login


def table(**fields: bytes) -> bytes:
    return b"".join(
        bytes([len(name)]) + name.encode() + b"S" + struct.pack(">I", len(text)) + text for name, text in fields.items()
    )


def test_plain_and_amqplain_are_offered_by_default() -> None:
    assert configured().offered(LOCAL) == ["PLAIN", "AMQPLAIN"]
    assert configured().offered(CERTIFIED) == ["PLAIN", "AMQPLAIN"]


def test_external_is_offered_only_with_a_verified_certificate() -> None:
    enabled = configured(["EXTERNAL", "PLAIN"])
    assert enabled.offered(CERTIFIED) == ["EXTERNAL", "PLAIN"]
    for peer in (REMOTE, UNVERIFIED):
        assert enabled.offered(peer) == ["PLAIN"]
        with pytest.raises(MechanismError, match="unknown authentication mechanism 'EXTERNAL'"):
            enabled.begin("EXTERNAL", b"", peer)


@pytest.mark.parametrize("name", ["NOPE", "", "plain", "EXTERNAL", "ANONYMOUS", "RABBIT-CR-DEMO"])
def test_mechanism_that_is_not_enabled_is_unknown(name: str) -> None:
    with pytest.raises(MechanismError, match=f"unknown authentication mechanism '{name}'"):
        configured().begin(name, b"\0guest\0guest", CERTIFIED)


def test_unknown_name_in_the_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'SCRAM', known are PLAIN, AMQPLAIN"):
        configured(["PLAIN", "SCRAM"])


def test_plain_takes_user_and_password() -> None:
    assert begin("PLAIN", b"\0guest\0secret").credentials == Credentials("guest", b"secret", True)
    assert begin("PLAIN", "\0jürgen\0ß".encode(), REMOTE).credentials == Credentials("jürgen", "ß".encode(), False)
    assert begin("PLAIN", b"\0guest\0").credentials.password == b""


@pytest.mark.parametrize(
    "response",
    # All are "response invalid" in RabbitMQ 3.10.8.
    [b"", b"\0", b"guest", b"\0guest", b"guest\0guest\0secret", b"\0guest\0secret\0", b"\0\0\0\0"],
)
def test_malformed_plain_is_a_mechanism_error(response: bytes) -> None:
    with pytest.raises(MechanismError, match="PLAIN response"):
        mechanisms.begin("PLAIN", response, LOCAL)


def test_malformed_response_does_not_put_the_password_into_the_log() -> None:
    for mechanism, response in [
        ("PLAIN", b"x\0guest\0hunter2"),
        ("AMQPLAIN", table(LOGIN=b"guest", PASSWORD=b"hunter2") + b"\xff"),
        ("AMQPLAIN", table(PASSWORD=b"hunter2")),
    ]:
        with pytest.raises(MechanismError) as caught:
            mechanisms.begin(mechanism, response, LOCAL)
        assert "hunter2" not in str(caught.value)


def test_amqplain_takes_login_and_password() -> None:
    login = begin("AMQPLAIN", table(PASSWORD=b"secret", extra=b"x", LOGIN=b"guest"))
    assert login.credentials == Credentials("guest", b"secret", True)
    assert login.username == "guest"


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (b"", "missing"),
        (table(LOGIN=b"guest"), "missing"),
        (table(PASSWORD=b"guest"), "missing"),
        (table(login=b"guest", password=b"guest"), "missing"),
        (table(LOGIN=b"guest", PASSWORD=b"guest")[:-1], "not a field table"),
        (struct.pack(">I", 5) + table(LOGIN=b"guest", PASSWORD=b"guest"), "not a field table"),
        (b"\0guest\0guest", "not a field table"),
    ],
)
def test_malformed_amqplain_is_a_mechanism_error(response: bytes, says: str) -> None:
    with pytest.raises(MechanismError, match=says):
        mechanisms.begin("AMQPLAIN", response, LOCAL)


def test_amqplain_with_a_number_for_a_name_is_a_refused_login() -> None:
    with pytest.raises(AuthFailed, match="not a string"):
        mechanisms.begin("AMQPLAIN", b"\x05LOGINI\0\0\0\x08" + table(PASSWORD=b"x"), LOCAL)


@given(st.sampled_from(ALL), st.binary(max_size=100))
def test_garbage_is_a_login_a_challenge_or_a_refusal(mechanism: str, response: bytes) -> None:
    users = make_users()
    try:
        step = mechanisms.begin(mechanism, response, CERTIFIED)
        login = step.respond(response) if isinstance(step, Challenge) else step
    except (MechanismError, AuthFailed):
        return
    assert isinstance(login, Login)
    attempt = login.attempt(users)
    with pytest.raises(AuthFailed):
        attempt.user(passed=True)


def test_name_that_is_not_utf_8_belongs_to_nobody() -> None:
    with pytest.raises(AuthFailed, match="invalid credentials"):
        begin("PLAIN", b"\0\xff\xfe\0secret").attempt(make_users()).user(True)


def test_external_logs_in_the_name_of_the_certificate_without_a_password() -> None:
    users = make_users()
    users.add_user("client", "", tags=["management"])
    login = begin("EXTERNAL", b"whatever", CERTIFIED)
    assert login.credentials == Credentials("client", None, False)
    assert login.verify(users) == User("client", ("management",))


def test_external_needs_an_existing_user() -> None:
    with pytest.raises(AuthFailed, match="user 'client' - invalid credentials"):
        begin("EXTERNAL", b"", CERTIFIED).verify(make_users())


def test_external_without_a_name_in_the_certificate_is_refused() -> None:
    nameless = Peer("192.0.2.1", False, {"subject": ((("organizationName", "x"),),)})
    with pytest.raises(AuthFailed, match=r"no user name \(common_name\)"):
        mechanisms.begin("EXTERNAL", b"", nameless)


def test_anonymous_is_the_configured_user() -> None:
    users = make_users()
    users.add_user("anybody", "")
    assert begin("ANONYMOUS", b"trace").verify(users) == User("anybody", ())
    with pytest.raises(AuthFailed):
        begin("ANONYMOUS", b"").verify(make_users())


def test_anonymous_guest_is_for_loopback_only() -> None:
    users = make_users()
    users.add_user("guest", "")
    login = configured(["ANONYMOUS"]).begin("ANONYMOUS", b"", REMOTE)
    assert isinstance(login, Login)
    with pytest.raises(AuthFailed, match="localhost"):
        login.verify(users)


def test_challenge_asks_for_the_password() -> None:
    users = make_users()
    users.add_user("u", SCRYPT_OF_SECRET)
    challenge = mechanisms.begin("RABBIT-CR-DEMO", b"u", REMOTE)
    assert isinstance(challenge, Challenge)
    assert challenge.text == b"Please tell me your password"
    login = challenge.respond(b"My password is secret")
    assert isinstance(login, Login)
    assert login.verify(users) == User("u", ())
    with pytest.raises(MechanismError, match="does not tell"):
        challenge.respond(b"secret")


def test_verify_lets_in_and_refuses() -> None:
    users = make_users()
    users.add_user("u", SCRYPT_OF_SECRET, tags=["a"])
    assert begin("PLAIN", b"\0u\0secret").verify(users) == User("u", ("a",))
    with pytest.raises(AuthFailed, match="user 'u' - invalid credentials"):
        begin("PLAIN", b"\0u\0wrong").verify(users)
