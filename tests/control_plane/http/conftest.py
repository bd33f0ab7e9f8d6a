"""A real control plane with its doors open on loopback, without a broker, in this process."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from control_plane.app import ControlPlane
from control_plane.first_start import HandedOver, first_start
from control_plane.policy.authoring import Credential, load_credential
from control_plane.settings import Folders, Settings
from shared.clock import SystemClock


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Open:
    """An open control plane: where its doors are, and what was handed over."""

    centre: ControlPlane
    folders: Folders
    handed_over: HandedOver
    credential: Credential
    addresses: Mapping[str, Any]

    def people(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        url = urlsplit(str(self.addresses["people_url"]))
        return ask(HTTPConnection(url.hostname or "", url.port, timeout=20), method, path, body, headers)

    def signed_in(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.credential.token}", "Content-Type": "application/json"}
        return self.people(method, path, body, **headers)

    def enrolment(self, method: str, path: str, body: bytes | None = None) -> Answer:
        return ask(self._tls("enrol_url", _trusting_nobody()), method, path, body, {})

    def hosts(self, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None) -> Answer:
        return ask(self._tls("hosts_url", context), method, path, body, {})

    def _tls(self, door: str, context: ssl.SSLContext) -> HTTPSConnection:
        url = urlsplit(str(self.addresses[door]))
        return HTTPSConnection(url.hostname or "", url.port, timeout=20, context=context)


def ask(connection: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


def _trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture
def trusting(door: Open) -> Callable[[], ssl.SSLContext]:
    def make() -> ssl.SSLContext:
        return ssl.create_default_context(cadata=door.enrolment("GET", "/ca.pem").body.decode())

    return make


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("centre")
    clock, folders = SystemClock(), Folders(folder / "data")
    handed_over = first_start(
        folders, folder / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
    )
    settings = Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False)
    centre = ControlPlane(settings, clock)
    centre.start()
    try:
        credential = load_credential(handed_over.credential)
        yield Open(centre, folders, handed_over, credential, centre.addresses())
    finally:
        centre.stop()
