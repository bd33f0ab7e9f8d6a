"""A control plane with one host that reports, looked at from the people's door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection
from json import loads
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.__main__ import main
from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.states import StateIntake
from control_plane.policy.authoring import load_credential
from shared.fleet.budget import Budget
from shared.fleet.devices import GuardReport
from shared.fleet.keys import KeyProtection
from shared.fleet.state import CaptureState, HostState, LayerState, sign_state
from shared.identity import HostId
from shared.signing import SoftwareSigner
from tests.fakes.clock import FakeClock
from tests.fakes.terminal import done

HOST = HostId(bytes(range(16)))


@dataclass
class Fleet:
    """A control plane with one host, whose certificate lasts a week."""

    clock: FakeClock
    database: sessionmaker[Session]
    signer: SoftwareSigner
    intake: StateIntake
    people_url: str
    credential: Path
    reports: int = 0

    def report(
        self,
        *,
        of: timedelta = timedelta(),
        listening: bool = True,
        capture: CaptureState | None = None,
        guard: GuardReport | None = None,
        run: str = "",
        number: int | None = None,
        policy: int = 0,
        policy_error: str = "",
        layers: tuple[LayerState, ...] = (),
        keys: KeyProtection = KeyProtection.FILE,
        budget: Budget | None = None,
    ) -> None:
        self.reports = self.reports + 1 if number is None else number
        state = HostState(
            HOST, self.reports, self.clock.now() + of, "test", policy, policy, policy_error, listening, 0, 0, 0, 0, 0,
            capture or CaptureState(), guard, run, layers=layers,
            keys=keys, budget=budget,
        )  # fmt: skip
        self.intake.take(HOST, sign_state(state, self.signer))

    def enrolled_with(self, *parts: str) -> None:
        """Have the host be one whose code was issued for these layers."""
        with self.database.begin() as session:
            session.execute(update(Host).values(parts=parts_text(parts)))

    def status(self) -> tuple[str, str]:
        """Return the host's state, and what the status says nobody has proved."""
        answer = self.answer()
        return answer["hosts"][0]["state"], "\n".join(answer["not_evaluated"])

    def answer(self, path: str = "/api/v1/status") -> Any:
        return loads(self.get(path)[1])

    def get(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), *, signed_in: bool = True
    ) -> tuple[int, str]:
        url = urlsplit(self.people_url)
        connection = HTTPConnection(url.hostname or "", url.port, timeout=20)
        token = load_credential(self.credential).token if signed_in else "nobody's"
        signed = {"Authorization": f"Bearer {token}"} if signed_in else {}
        connection.request("GET", path, headers={**headers, **signed})
        response = connection.getresponse()
        answer = response.status, response.read().decode()
        connection.close()
        return answer

    def command(self, *arguments: str) -> tuple[int, str]:
        """Do a command of `leadglass-server` as a person would; return its exit code and what it printed."""
        ended = done(main, [*arguments, "--as", self.credential, "--url", self.people_url])
        return ended.returncode, ended.stdout
