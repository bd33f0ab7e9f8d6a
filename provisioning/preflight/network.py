"""Reaches out from this machine: is our own port free, who answers at the centre's, does a peer answer a C-ECHO."""

import errno
import re
import socket
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil

from edge_agent.https import DoorUnavailable, unverified_door
from provisioning.preflight.facts import CentreClock, Port, Reached
from provisioning.site import Peer
from shared.clock import Clock
from shared.dicom.associate import Proposed
from shared.dicom.dimse import VERIFICATION
from shared.dicom.requestor import Patience, Requestor
from shared.errors import Refused, Unavailable

_TIMEOUT_S = 5.0
_LEAST_OF_ACCOUNTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_PATIENCE = Patience(associate_s=10, answer_s=10, send_s=10, release_s=2)
_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_AGENT = re.compile(r"(\S*/python[0-9.]* )?(-\w )*(\S*/leadglass-agent|-m edge_agent)( |$)")


def own_port(host: str, port: int) -> Port:
    """Say whether this machine could listen there now; the socket is closed again at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            tried.listen(1)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return _listener(port)
        return Port(why=_why(exc))
    return Port(only_root=port < _least_of_accounts())


def is_agent(command_line: Sequence[str]) -> bool:
    """Return whether a process is our agent, by how its launcher or its interpreter starts it."""
    return _AGENT.match(" ".join(command_line)) is not None


def reach(host: str, port: int) -> Reached:
    address = f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except OSError as exc:
        return Reached(address, _why(exc))
    return Reached(address)


def centre_clock(host: str, port: int, clock: Clock) -> CentreClock:
    """Ask the enrolment door for what it shows everybody, for the Date of its answer (RFC 9110 section 6.6.1)."""
    door = unverified_door(host, port, _TIMEOUT_S)
    began = clock.now()
    try:
        said = door.get("/ca.pem").headers.get("date", "")
    except DoorUnavailable as exc:
        return CentreClock(None, unseen=str(exc))
    finally:
        door.close()
    ended = clock.now()
    try:
        date = parsedate_to_datetime(said)
    except ValueError:
        return CentreClock(None, unseen=f"what answers at {host}:{port} does not say what time it is")
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return CentreClock(date, began, ended - began)


def echo(peer: Peer, calling_ae_title: str) -> Reached:
    try:
        with socket.create_connection((peer.host.strip("[]"), peer.port), timeout=_TIMEOUT_S) as stream:
            requestor = Requestor(
                _Stream(stream),
                calling_ae_title=calling_ae_title,
                called_ae_title=peer.ae_title,
                contexts=(Proposed(VERIFICATION, (_IMPLICIT_VR_LITTLE_ENDIAN,)),),
                patience=_PATIENCE,
            )
            requestor.associate()
            requestor.echo()
            requestor.release()
    except OSError as exc:
        return Reached(str(peer), _why(exc))
    except (Refused, Unavailable) as exc:
        return Reached(str(peer), str(exc))
    return Reached(str(peer))


class _Stream:
    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def sendall(self, data: memoryview, /) -> None:
        self._stream.sendall(data)

    def recv_into(self, buffer: memoryview, /) -> int:
        return self._stream.recv_into(buffer)

    def settimeout(self, timeout_s: float | None, /) -> None:
        self._stream.settimeout(timeout_s)


def _least_of_accounts() -> int:
    try:
        return int(_LEAST_OF_ACCOUNTS.read_text())
    except (OSError, ValueError):
        return 1024


def _listener(port: int) -> Port:
    try:
        sockets = psutil.net_connections("tcp")
        pid = next(
            (s.pid for s in sockets if s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port), None
        )
        process = psutil.Process(pid) if pid is not None else None
        words = process.cmdline() if process is not None else []
        name = process.name() if process is not None else "another program"
    except (psutil.Error, OSError):
        return Port(taken_by="another program")
    return Port(f"{name} (process {pid})" if pid else name, is_ours=is_agent(words))


def _why(exc: OSError) -> str:
    return exc.strerror or str(exc) or type(exc).__name__
