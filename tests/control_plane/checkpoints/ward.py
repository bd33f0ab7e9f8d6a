"""A centre that is stopped, put back and started again, and hosts with the parts of their agents that talk to it."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from control_plane.app import ControlPlane
from control_plane.policy.authoring import load_credential
from control_plane.settings import Settings, Witnessing
from edge_agent.audit.journal import Journal
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.log_witness.cosigner import Cosigner
from edge_agent.log_witness.store import CheckpointStore
from edge_agent.log_witness.witness import LogWitness
from shared.clock import Clock, SystemClock
from shared.enrolment.code import EnrolmentCode
from shared.fleet.state import HostState, sign_state
from shared.identity import HostId
from tests.control_plane.begun import begun
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import issue_code
from tests.fakes.log import MemoryLog
from tests.fakes.ports import free_ports


@dataclass
class Host:
    """An enrolled host: how it renews its certificate, and how it holds the centre's log against what it saw."""

    folder: AgentFolder
    clock: Clock
    host_id: HostId = field(init=False)

    def __post_init__(self) -> None:
        identity = load_identity(self.folder)
        self.host_id = identity.config.host_id
        self.folder.database.parent.mkdir(exist_ok=True)
        self.database = Database(self.folder.database)
        self.store = CheckpointStore(self.database)
        self.journal = Journal(self.database, self.host_id, key=lambda: None, clock=self.clock)
        context = verified_context(self.folder.ca, self.folder.tls)
        doors = identity.config.doors
        self._doors = [HttpsDoor(doors.host, doors.https_port, context) for _ in range(2)]
        self.renewal = CertificateRenewal(
            self._doors[0],
            self.folder,
            identity.keys,
            host_id=self.host_id,
            asking=Asking(self.folder, identity, self.clock, MemoryLog()),
            present=identity.tls_certificate,
            root=PinnedRoot(
                self.folder.ca,
                identity.trust,
                fetch=lambda: b"",
                contexts=[context],
                log=MemoryLog(),
                note=lambda _: None,
            ),
            contexts=[context],
            clock=self.clock,
            log=MemoryLog(),
        )
        self.witness = LogWitness(
            self._doors[1],
            host_id=self.host_id,
            trust=lambda: identity.trust,
            database=self.database,
            store=self.store,
            journal=self.journal,
            cosigner=Cosigner(identity.keys, identity.signer, self.host_id, self.clock),
            log=MemoryLog(),
            on_change=lambda: None,
        )

    @property
    def said(self) -> str:
        return self.store.held().said

    def report(self, number: int) -> None:
        """Send a state report, of which only what is said of the log and of the renewal matters."""
        state = HostState(self.host_id, number, self.clock.now(), "leadglass", 0, 0, "", False, 0, 0, 0, 0, 0)
        state = replace(state, centre_log=self.said, renewal_error=self.renewal.error)
        signed = sign_state(state, load_identity(self.folder).signer)
        assert self._doors[1].post("/api/v1/state", signed, "application/octet-stream").status == 204

    def hang_up(self) -> None:
        for door in self._doors:
            door.close()

    def close(self) -> None:
        self.hang_up()
        self.database.close()


class Ward:
    def __init__(self, folder: Path, witnessing: Witnessing | None = None) -> None:
        self.folder, self.clock = folder, SystemClock()
        self.folders, self.made = begun(folder)
        host_port, enrol_port = free_ports(2)
        self._settings = Settings(
            self.folders, host_port=host_port, enrol_port=enrol_port, people_port=0, with_broker=False,
            witnessing=witnessing or Witnessing(round_s=0),
        )  # fmt: skip
        self._hosts: list[Host] = []
        self.start()

    def start(self) -> None:
        centre = ControlPlane(self._settings, self.clock)
        centre.start()
        addresses = centre.addresses()
        self.door = Open(centre, self.folders, self.made, load_credential(self.made.credential), addresses)

    def stop(self) -> None:
        self.door.centre.stop()
        for host in self._hosts:
            host.hang_up()

    def close(self) -> None:
        self.stop()
        for host in self._hosts:
            host.close()

    def enrol(self, asset: str) -> Host:
        return self.enrol_with(issue_code(self.door, asset), asset)

    def enrol_with(self, code: EnrolmentCode, asset: str, *, again: bool = False) -> Host:
        folder = AgentFolder(self.folder / f"{asset.replace(' ', '-')}{'-again' * again}")
        folder.path.mkdir()
        enrol(folder, str(self.door.addresses["enrol_url"]), code, asset)
        self._hosts.append(Host(folder, self.clock))
        return self._hosts[-1]

    def revoke(self, host: Host) -> None:
        answer = self.people("POST", f"/api/v1/hosts/{host.host_id}/revocation", {"reason": "stolen"})
        assert answer.status == 201, answer.body

    def people(self, method: str, path: str, body: dict[str, object] | None = None) -> Answer:
        return self.door.signed_in(method, path, None if body is None else json.dumps(body).encode())

    def gaps(self) -> str:
        return "\n".join(json.loads(self.people("GET", "/api/v1/status").body)["not_evaluated"])

    def copy(self) -> Path:
        """Copy the database as a backup does, while the centre runs."""
        copied = self.folder / "yesterday.sqlite"
        with closing(sqlite3.connect(self.folders.database)) as source, closing(sqlite3.connect(copied)) as target:
            source.backup(target)
        return copied

    def restore(self, copied: Path, *, with_mark: bool, with_list: bool = False) -> None:
        """Put a copy of the database back; what else lies on the machine is left or removed."""
        self.stop()
        for file in self.folders.database.parent.iterdir():
            file.unlink()
        shutil.copy(copied, self.folders.database)
        if not with_mark:
            self.folders.log_mark.unlink()
        if not with_list:
            self.folders.revoked.unlink()
        self.start()
