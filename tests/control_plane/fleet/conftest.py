"""A real Mosquitto for each test that asks, under a CA of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control_plane.fleet.broker import ManagedBroker, find_mosquitto
from control_plane.fleet.broker_config import ACCESS_RULES, Listener, configuration
from tests.control_plane.fleet.pki import TestCa

StartBroker = Callable[..., ManagedBroker]


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    found = find_mosquitto()
    if found is None:
        pytest.skip("mosquitto is not installed (Debian package mosquitto)")
    return found


@pytest.fixture(scope="session")
def ca() -> TestCa:
    return TestCa()


@pytest.fixture
def start_broker(tmp_path: Path, mosquitto: Path, ca: TestCa) -> Iterator[StartBroker]:
    running: list[ManagedBroker] = []

    def start(
        *, configure: Callable[[Listener], str] = configuration, access_rules: str = ACCESS_RULES, port: int = 0
    ) -> ManagedBroker:
        server = ca.server()
        broker = ManagedBroker(
            tmp_path / "broker",
            mosquitto,
            port,
            ca.pem,
            server.certificate,
            server.key,
            configure=configure,
            access_rules=access_rules,
            pauses_s=(0.05, 1.0),
        )
        running.append(broker)
        broker.start()
        return broker

    yield start
    for broker in running:
        broker.stop()


@pytest.fixture
def broker(start_broker: StartBroker) -> ManagedBroker:
    return start_broker()
