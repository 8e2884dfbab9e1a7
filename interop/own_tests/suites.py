"""The clients whose own tests are run."""

import re
from pathlib import Path

import trustme

from interop.own_tests.sources import DebianSource, Sdist, replaced
from interop.own_tests.suite import INSIDE, Place, Suite

PYTEST = ("pytest==9.2.0", "pytest-timeout==2.4.0")
INTERNET = "talks to a host on the internet"
# Each was seen to fail with RabbitMQ 3.10.8, too: the one of channels during a reconnect once in 15 runs.
RACE = "tasks of the client race in it, and it fails now and then with RabbitMQ as well"


def pika_ports(tree: Path, place: Place) -> None:
    """The tests have the port written out."""
    for folder in ("tests/acceptance", "tests/base"):
        for path in (tree / folder).rglob("*.py"):
            path.write_text(re.sub(r"\b5672\b", str(place.port), path.read_text()))


def without_docker(tree: Path, _place: Place) -> None:
    """The tests start their broker in Docker."""
    replaced(tree / "tests" / "docker_client.py", INSIDE / "docker_client.py")


def py_amqp_certificates(tree: Path, place: Place) -> None:
    """The certificates of the tests are not in the source distribution."""
    if place.authority is None:
        return
    directory = tree / "t" / "certs"
    directory.mkdir()
    (directory / "ca_certificate.pem").write_bytes(place.authority.read_bytes())
    authority = trustme.CA()
    client, other = authority.issue_cert("client@localhost"), authority.issue_cert("client@localhost")
    for name, key in (("client", client), ("client_broken", other)):
        kind = name.removeprefix("client")
        client.cert_chain_pems[0].write_to_path(directory / f"client_certificate{kind}.pem")
        key.private_key_pem.write_to_path(directory / f"client_key{kind}.pem")


def rabbitmq_ports(place: Place) -> dict[str, str]:
    return {
        "RABBITMQ_HOST": place.host,
        "RABBITMQ_5672_TCP": str(place.port),
        "RABBITMQ_5671_TCP": str(place.tls_port),
    }


SUITES = (
    Suite(
        client="pika",
        source=DebianSource("python-pika", "1.3.2"),
        tests=("tests/acceptance",),
        pip=(*PYTEST, "gevent==26.9.0", "tornado==6.6.1", "twisted==26.10.0"),
        options=("-o", "python_files=*_test.py *_tests.py"),
        prepare=pika_ports,
        left_out={"*::TestGetaddrinfoWWWGoogleDotComPort80::*": INTERNET},
    ),
    Suite(
        client="aio-pika",
        source=Sdist("aio-pika", "10.2.1"),
        tests=("tests",),
        pip=(*PYTEST, "aio-pika==10.2.1", "aiormq==7.2.4", "aiomisc-pytest==2.0.0", "shortuuid==1.0.13"),
        prepare=without_docker,
        left_out={"*::test_leak_unclosed_channel[[]*": RACE, "*::test_create_channels_during_reconnect": RACE},
        tls=("tests/test_amqps.py::*",),
    ),
    Suite(
        client="aiormq",
        source=Sdist("aiormq", "7.2.4"),
        tests=("tests",),
        pip=(*PYTEST, "aiormq==7.2.4", "aiomisc-pytest==2.0.0"),
        options=("-p", "aiormq_fixtures"),
        left_out={
            "*::test_closing_waiter_cancellation[[]*-connection-True]": RACE,
            "*::test_connection_close_during_publish_drain[[]*": RACE,
        },
        tls=("*[[]amqps]", "*[[]amqps-*", "*-amqps]", "*-amqps-*", "*::test_ssl_*"),
    ),
    Suite(
        client="py-amqp",
        source=Sdist("amqp", "5.4.2"),
        tests=("t/integration",),
        pip=(*PYTEST, "amqp==5.4.2"),
        environment=rabbitmq_ports,
        prepare=py_amqp_certificates,
        left_out={"*::test_tls_default_certs": INTERNET, "*::test_tls_no_default_certs_fails": INTERNET},
        tls=("*[[]tls*", "*::test_tls_*"),
    ),
    Suite(
        client="kombu",
        source=Sdist("kombu", "5.7.0"),
        tests=("t/integration/test_py_amqp.py",),
        pip=(*PYTEST, "kombu==5.7.0", "amqp==5.4.2"),
        environment=rabbitmq_ports,
    ),
)
