"""A real Orthanc on loopback for one test: an archive, or a modality that sends and asks for storage commitment."""

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ports import free_port

_START_S = 60.0


@dataclass(frozen=True)
class Tls:
    """DICOM TLS of one Orthanc, as server and as client: PEM files, and whom it trusts."""

    certificate: Path
    private_key: Path
    trusted: Path


@dataclass(frozen=True)
class Remote:
    """A peer as Orthanc's configuration names it; `allow` are further options, such as AllowStorageCommitment."""

    ae_title: str
    port: int
    host: str = "127.0.0.1"
    allow: Mapping[str, bool] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {"AET": self.ae_title, "Host": self.host, "Port": self.port, **self.allow}


class Orthanc:
    """The REST side of one that runs. `dicom_port` is where it takes associations."""

    def __init__(self, folder: Path, ae_title: str, dicom_port: int, http_port: int) -> None:
        self.folder, self.ae_title = folder, ae_title
        self.dicom_port, self.http_port = dicom_port, http_port

    def get(self, path: str) -> Any:
        return self._exchange("GET", path, None)

    def post(self, path: str, body: bytes | object) -> Any:
        """Send `body`: bytes as they are, anything else as JSON. Returns the parsed answer."""
        return self._exchange("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())

    def put(self, path: str, body: bytes | object) -> Any:
        return self._exchange("PUT", path, body if isinstance(body, bytes) else json.dumps(body).encode())

    def log(self) -> str:
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def _exchange(self, method: str, path: str, body: bytes | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=180)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f"Orthanc answers {method} {path} with {answer.status}: {content[:500]!r}")
        try:
            return json.loads(content)
        except ValueError:
            return content


@contextmanager
def orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    remotes: Mapping[str, Remote] | None = None,
    tls: Tls | None = None,
    dicom_port: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Orthanc]:
    """Run one with all it keeps under `folder`. `remotes` is DicomModalities, `options` overrides its configuration."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian package orthanc)")
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(folder, ae_title, dicom_port or free_port(), free_port())
    config = folder / "orthanc.json"
    config.write_text(json.dumps({**_configuration(server, remotes or {}, tls), **(options or {})}))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, "--verbose", str(config)], stdout=log, stderr=log)
        try:
            _await(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _configuration(server: Orthanc, remotes: Mapping[str, Remote], tls: Tls | None) -> dict[str, Any]:
    modalities = {name: remote.json() | {"UseDicomTls": tls is not None} for name, remote in remotes.items()}
    configuration: dict[str, Any] = {
        "Name": server.ae_title,
        "StorageDirectory": str(server.folder / "storage"),
        "IndexDirectory": str(server.folder / "storage"),
        "Plugins": [],
        "HttpPort": server.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": server.ae_title,
        "DicomPort": server.dicom_port,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomCheckModalityHost": False,
        "DicomModalities": modalities,
        "DicomTlsEnabled": tls is not None,
        "SaveJobs": False,
        "ConcurrentJobs": 2,
    }
    if tls is not None:
        configuration |= {
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.private_key),
            "DicomTlsTrustedCertificates": str(tls.trusted),
        }
    return configuration


def _await(server: Orthanc, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"Orthanc ended at its start: {server.log()[-2000:]}")
        try:
            server.get("/system")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"Orthanc did not answer within {_START_S:.0f} s: {server.log()[-2000:]}")
