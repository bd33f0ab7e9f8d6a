"""A real Mosquitto for each test that asks, under a CA of its own; and a control plane with one host."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.app import ControlPlane
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Certificate, Host
from control_plane.fleet.broker import ManagedBroker, find_mosquitto
from control_plane.fleet.broker_config import ACCESS_RULES, Listener, configuration
from control_plane.settings import Settings
from shared.clock import SystemClock
from shared.signing import SoftwareSigner
from tests.control_plane.begun import begun
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.reporting import HOST, Fleet
from tests.fakes.clock import FakeClock

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


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    folders, made = begun(tmp_path)
    clock = FakeClock(SystemClock().now())
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    centre.start()
    database, signer = (
        open_database(sqlite_url(folders.database)),
        SoftwareSigner(ec.generate_private_key(ec.SECP256R1())),
    )
    with database.begin() as session:
        week = clock.now() + timedelta(days=7)
        session.add(Certificate(serial="1", kind="host", subject=str(HOST), pem="", issued=clock.now(), not_after=week))
        session.add(Host(host_id=str(HOST), asset="CT 2", enrolled=clock.now(),
                         evidence_spki=signer.public.spki, state_number=0))  # fmt: skip
    url = str(centre.addresses()["people_url"])
    yield Fleet(clock, database, signer, centre._states, url, made.credential)
    centre.stop()
