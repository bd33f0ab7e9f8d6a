"""A host whose keys are in its TPM: the kernel's device for it, the agent's own account, another machine, no TPM."""

import base64
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_enrolment, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.host_keys.vault import KeyName
from shared.fleet.keys import KeyProtection
from tests.edge_agent.host_keys.needles import found_in, needles_of
from tests.fakes import tpm_commands
from tests.fakes.centre import Centre
from tests.lab.conftest import memory_folder
from tests.lab.guard import packed
from tests.lab.guest import Done, quoted
from tests.lab.image import Image
from tests.lab.lab import INSIDE, Lab
from tests.lab.machine import Boot

DATA = "/var/lib/leadglass"
WITH_TPM = Boot(tpm=True)
# What a start of the agent does with its keys; prints whose signatures it could make now.
OPENS = (
    "import sys; from pathlib import Path; from edge_agent.config import AgentFolder, load_identity\n"
    "from shared.errors import Refused, Unavailable\n"
    f"try: print(load_identity(AgentFolder(Path('{DATA}'))).signer.public.key_id)\n"
    "except (Refused, Unavailable) as exc: sys.exit(f'{type(exc).__name__}: {exc}')\n"
)


class AgentHost:
    """The project and an identity in a guest."""

    def __init__(self, lab: Lab) -> None:
        self._guest = lab.guest

    def install(self, data: bytes) -> None:
        self._guest.put("/run/leadglass.tar", packed())
        self._guest.put("/run/data.tar", data)
        self._guest.put("/run/tpm.py", (INSIDE / "tpm.py").read_bytes())
        self._guest.run(
            f"cd / && tar xf /run/leadglass.tar && systemd-sysusers && mkdir -p {DATA} && "
            f"tar xf /run/data.tar -C {DATA} && chown -R leadglass: {DATA} && chmod 700 {DATA} && rm /run/*.tar"
        )

    def agent(self, *arguments: str, account: str = "runuser -u leadglass --") -> Done:
        """Run the agent's own program under its own account."""
        command = quoted("python3", "-m", "edge_agent", *arguments, "--data", DATA)
        return self._guest.run(f"{account} {command}", check=False, timeout_s=120)

    def opens(self, account: str = "runuser -u leadglass --") -> Done:
        return self._guest.run(f"{account} {quoted('python3', '-c', OPENS)}", check=False, timeout_s=120)

    def send(self, commands: Iterable[bytes]) -> set[str]:
        given = [base64.b64encode(command).decode() for command in commands]
        return set(self._guest.run(["python3", "/run/tpm.py", *given]).out.split())

    def data(self) -> bytes:
        """Return what lies in the agent's folder, as whoever takes the disk has it."""
        self._guest.run(f"tar cf /run/taken.tar -C {DATA} .")
        return self._guest.get("/run/taken.tar")


@dataclass(frozen=True)
class Kept:
    """A machine whose agent has its keys in the TPM, what lay on its disk before and after, and what must not lie."""

    saved: Path
    before: bytes
    data: bytes
    needles: list[bytes]
    key_id: str


@pytest.fixture(scope="module")
def kept(guest_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = AgentFolder(tmp_path_factory.mktemp("enrolled") / "agent")
    _enrol(folder, tmp_path_factory.mktemp("centre"))
    identity = load_identity(folder)
    needles = [needle for name in (KeyName.TLS, KeyName.EVIDENCE) for needle in needles_of(identity.keys.load(name))]
    with memory_folder() as saved:
        with Lab(guest_image, WITH_TPM).keeping(saved) as lab:
            host, before = AgentHost(lab), _packed_folder(folder.path)
            host.install(before)
            moved = host.agent("keys", "move", "--to", "tpm")
            assert moved.code == 0, moved.err
            data = host.data()
            lab.save(saved)
        yield Kept(saved, before, data, needles, str(identity.signer.public.key_id))


@pytest.fixture
def host(guest_image: Image, kept: Kept) -> Iterator[AgentHost]:
    with Lab(guest_image, WITH_TPM, saved=kept.saved) as lab:
        yield AgentHost(lab)


def test_the_agent_s_own_account_opens_its_keys_in_the_group_of_the_tpm_and_not_without(
    host: AgentHost, kept: Kept
) -> None:
    assert host.opens().out.strip() == kept.key_id
    without = host.opens("setpriv --reuid leadglass --regid leadglass --clear-groups")
    assert without.code == 1
    assert "add it to the group that owns it" in without.err


def test_a_stolen_disk_holds_no_private_key_in_clear(kept: Kept, tmp_path: Path) -> None:
    for name, data in (("before", kept.before), ("after", kept.data)):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(tmp_path / name, filter="data")

    assert not found_in(tmp_path / "after", kept.needles)
    assert load_enrolment(AgentFolder(tmp_path / "after")).config.keys is KeyProtection.TPM
    # The control: before they were moved the same search found both.
    assert found_in(tmp_path / "before", kept.needles) == {"identity/tls.pem", "identity/evidence.key"}


def test_new_firmware_locks_the_agent_not_out(host: AgentHost, kept: Kept) -> None:
    assert host.send(tpm_commands.new_firmware()) == {"00000000"}

    assert host.opens().out.strip() == kept.key_id


def test_a_cleared_tpm_is_told_from_one_that_does_not_answer(host: AgentHost) -> None:
    assert host.send([tpm_commands.clear()]) == {"00000000"}

    told = host.opens().err
    assert "KeyNotOfThisTpm" in told
    assert "enrol this host anew" in told


def test_without_a_tpm_the_agent_says_what_to_do_and_takes_no_other_key(lab: Lab, kept: Kept) -> None:
    host = AgentHost(lab)
    host.install(kept.data)

    told = host.opens()
    assert told.code == 1
    assert "KeyVaultUnavailable" in told.err
    assert "switch it on in the firmware" in told.err
    assert not any(needle in host.data() for needle in kept.needles)


def test_the_disk_in_another_machine_opens_nothing(guest_image: Image, kept: Kept) -> None:
    # A snapshot holds the TPM of its machine; one that starts by itself has its own.
    with Lab(guest_image, WITH_TPM, restored=False) as lab:
        lab.await_ready()
        lab.guest.run("udevadm settle")
        host = AgentHost(lab)
        host.install(kept.data)

        told = host.opens()
        assert told.code == 1
        assert "the evidence key was encrypted by another TPM" in told.err


def _enrol(folder: AgentFolder, place: Path) -> None:
    centre = Centre(place)
    centre.start()
    try:
        enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    finally:
        centre.stop()


def _packed_folder(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, ".")
    return buffer.getvalue()
