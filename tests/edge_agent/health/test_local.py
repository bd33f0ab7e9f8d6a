"""What a host knows of itself, read while its agent works: an image is always seen somewhere."""

import threading

import pytest

from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.config import AgentFolder
from edge_agent.health import local
from edge_agent.health.local import read_status
from tests.fakes.centre import Centre
from tests.fakes.host import Host


@pytest.fixture
def host(centre: Centre, enrolled: AgentFolder) -> Host:
    host = Host.enrolled(enrolled, centre.keys)
    host.recover()
    return host


@pytest.mark.parametrize("moment", ["count", "read_folders", "read_counts"])
def test_an_image_that_is_registered_meanwhile_is_seen_coming_in_or_waiting(
    host: Host, enrolled: AgentFolder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    registrar = GroupRegistrar(host.captures.entries, host.log)
    host.pipeline.registrar = registrar
    host.capture()
    stop = threading.Event()
    stop.set()
    read = getattr(local, moment)

    def registered_just_then(*arguments: object) -> object:
        found = read(*arguments)
        registrar.bell.ring()
        registrar.run(stop)
        return found

    monkeypatch.setattr(local, moment, registered_just_then)
    status = read_status(enrolled)

    assert status.coming_in + status.waiting > 0
    assert (host.spool.waiting(), host.spool.attempts.left_over()) == (1, ())
