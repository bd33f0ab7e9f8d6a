"""A host dies with images that nobody else has: an engineer carries them to the next one, and the vault opens them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from control_plane.app import ControlPlane
from control_plane.settings import Folders, Settings
from edge_agent.agent import Agent
from edge_agent.config import AgentFolder, HostConfig, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.host_keys.commands import move_keys
from edge_agent.host_keys.plain import FILES
from edge_agent.moving.store import MovedStore
from provisioning.demo.processes import Ran, wait_until
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from shared.fleet.keys import KeyProtection
from tests.control_plane.begun import begun
from tests.edge_agent.capture.images import Image, load
from tests.edge_agent.conftest import senders_close_their_sockets, tpm
from tests.edge_agent.test_agent import running, send
from tests.fakes.log import MemoryLog
from tests.fakes.software_tpm import SoftwareTpm
from tests.scenarios import desk
from tests.scenarios.desk import ONE_CT, run

__all__ = ["senders_close_their_sockets", "tpm"]

IMAGES = [load(name) for name in ("CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm")]
ANOTHER = load("MR_small.dcm")


@dataclass
class Hospital:
    """A control plane in this process, and people at its keyboard."""

    folder: Path
    people_url: str = ""
    enrol_url: str = ""

    @contextmanager
    def centre(self, *, with_broker: bool = False) -> Iterator[None]:
        folders = Folders(self.folder / "data")
        if not folders.data.exists():
            begun(self.folder)
        settings = Settings(folders, host_port=0, enrol_port=0, people_port=0, mqtt_port=0, with_broker=with_broker)
        centre = ControlPlane(settings, SystemClock())
        centre.start()
        try:
            addresses = centre.addresses()
            self.people_url, self.enrol_url = str(addresses["people_url"]), str(addresses["enrol_url"])
            yield
        finally:
            centre.stop()

    def person(self, *command: str) -> Any:
        """Return what a command prints as JSON."""
        who = ("--as", str(self.folder / "handover" / "credential-ada.json"), "--url", self.people_url)
        return run("leadglass-server", *command, *who, "--json").json()

    def engineer(self, *command: str) -> Ran:
        return run("leadglass-agent", "spool", *command)

    def enrol(self, name: str) -> AgentFolder:
        folder = AgentFolder(self.folder / name)
        code = self.person("code", "--asset", name)["code"]
        enrol(folder, self.enrol_url, EnrolmentCode.parse(code), name)
        return folder

    def objects(self) -> set[str]:
        return {one["object"] for one in self.person("find")["objects"]}

    def holds(self, count: int) -> bool:
        return desk.holds(self.folder / "data", self.objects, count)

    def opened(self, object_id: str) -> bytes:
        out = self.folder / f"{object_id}.dataset"
        self.person("open", object_id, "--reason", "is it the same", "--bare", "--out", str(out))
        return out.read_bytes()


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    return Hospital(tmp_path)


def host_of(folder: AgentFolder) -> str:
    return str(load_identity(folder).config.host_id)


def listening(running_agent: Agent) -> bool:
    return wait_until(lambda: running_agent.listener.port is not None, 120) is not None


def captured_while_the_centre_is_away(hospital: Hospital, images: Sequence[Image]) -> AgentFolder:
    """Return the folder of a host that followed policy once and has captured `images` since."""
    with hospital.centre():
        policy = hospital.folder / "policy.yaml"
        policy.write_text(ONE_CT)
        hospital.person("policy", "publish", str(policy))
        old = hospital.enrol("CT 2")
        with running(old, MemoryLog()) as first:
            assert listening(first)
    with running(old, MemoryLog()) as alone:
        assert listening(alone)
        assert [send(alone, image) for image in images] == [0] * len(images)
    return old


def test_what_a_dead_host_left_behind_opens_at_the_centre_byte_for_byte(hospital: Hospital) -> None:
    old = captured_while_the_centre_is_away(hospital, IMAGES)
    stick = hospital.folder / "stick"

    hospital.engineer("export", "--data", str(old.path), str(stick)).succeeded()
    with hospital.centre():
        new = hospital.enrol("CT 2, its replacement")
        pair = ("--from", host_of(old), "--to", host_of(new))
        hospital.engineer("import", "--data", str(new.path), str(stick)).succeeded()
        with running(new, MemoryLog()) as replacement:
            assert listening(replacement)
            assert send(replacement, ANOTHER) == 0
            # Nobody has said so yet: what was brought waits, and the new host's own image does not wait for it.
            assert hospital.holds(1)
        (own,) = hospital.objects()
        assert hospital.opened(own) == ANOTHER.dataset

        (move,) = hospital.person("spool", "allow", *pair, "--reason", "its power supply burnt out")
        with running(new, MemoryLog()):
            assert hospital.holds(1 + len(IMAGES))
            assert desk.comes(
                lambda: hospital.person("audit", "verify").get(host_of(old), {"records": 0})["records"] > 5
            )

        brought = hospital.objects() - {own}
        assert {hospital.opened(one) for one in brought} == {image.dataset for image in IMAGES}
        verdicts = hospital.person("audit", "verify")
        assert {verdict["state"] for verdict in verdicts.values()} == {"verified"}
        (shown,) = hospital.person("spool", "list")
        assert (shown["move"], shown["state"], shown["objects"]) == (move["move"], "open", len(IMAGES))
        assert any("3 objects so far" in gap for gap in hospital.person("status")["not_evaluated"])


def test_what_a_host_captured_opens_at_the_centre_though_its_keys_went_with_its_tpm(
    hospital: Hospital, tpm: SoftwareTpm
) -> None:
    old = captured_while_the_centre_is_away(hospital, IMAGES)
    source = host_of(old)
    list(move_keys(old, KeyProtection.TPM, SystemClock(), lambda kind: FILES if kind == "file" else tpm.vault))
    with hospital.centre():
        new = hospital.enrol("CT 2, its replacement")
        # This machine has another TPM, or none.
        assert hospital.engineer("export", "--data", str(old.path), str(hospital.folder / "stick")).exit_code != 0
        hospital.engineer("rescue", "--data", str(new.path), str(old.path)).succeeded()
        hospital.person("spool", "allow", "--from", source, "--to", host_of(new), "--reason", "its mainboard died")
        with running(new, MemoryLog()):
            assert hospital.holds(len(IMAGES))

        assert {hospital.opened(one) for one in hospital.objects()} == {image.dataset for image in IMAGES}
        assert {verdict["state"] for verdict in hospital.person("audit", "verify").values()} == {"verified"}


def test_a_host_that_comes_back_from_the_dead_delivers_nothing_twice(hospital: Hospital) -> None:
    old = captured_while_the_centre_is_away(hospital, IMAGES)
    stick = hospital.folder / "stick"
    hospital.engineer("export", "--data", str(old.path), str(stick)).succeeded()
    with hospital.centre():
        new = hospital.enrol("CT 2, its replacement")
        hospital.person("spool", "allow", "--from", host_of(old), "--to", host_of(new), "--reason", "it was off")
        hospital.engineer("import", "--data", str(new.path), str(stick)).succeeded()
        with running(new, MemoryLog()):
            assert hospital.holds(len(IMAGES))
        point_at(old, new)
        with running(old, MemoryLog()) as revived:
            assert wait_until(lambda: revived.spool.waiting() == 0 and revived.journal.waiting() == 0, 120) is not None

        assert len(hospital.objects()) == len(IMAGES)
        assert {hospital.opened(one) for one in hospital.objects()} == {image.dataset for image in IMAGES}
        assert {verdict["state"] for verdict in hospital.person("audit", "verify").values()} == {"verified"}
        again = hospital.engineer("import", "--data", str(new.path), str(stick)).succeeded()
        assert f"0 of {len(IMAGES)} objects taken in, {len(IMAGES)} here already" in again.out
        with running(new, MemoryLog()) as replacement:
            assert wait_until(lambda: not list(MovedStore(replacement.database).batches()), 120) is not None


def point_at(old: AgentFolder, new: AgentFolder) -> None:
    """Give a host the addresses that the doors have since the control plane was started again."""
    known, now = (HostConfig.parse((folder.identity / "host.json").read_bytes()) for folder in (old, new))
    (old.identity / "host.json").write_bytes(replace(known, doors=now.doors).encode())
