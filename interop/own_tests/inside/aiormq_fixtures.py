"""A pytest plugin with the fixtures that aiormq has outside of its tests, and its source distribution lacks."""

import docker_client  # type: ignore[import-not-found]  # beside this file where the tests run
import pytest
from yarl import URL


@pytest.fixture(scope="session")
def rabbitmq_container() -> docker_client.ContainerInfo:
    return docker_client.DockerClient().run("", ["5672/tcp", "5671/tcp"])


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container: docker_client.ContainerInfo) -> URL:
    return URL(f"amqp://guest:guest@{rabbitmq_container.host}:{rabbitmq_container.ports['5672/tcp']}//")
