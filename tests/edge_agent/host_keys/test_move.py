"""Keys that move into the TPM and out of it: whole or not at all, and nothing in clear stays behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.agent import locked
from edge_agent.audit.journal import Journal
from edge_agent.capture.certificate import DicomCertificate
from edge_agent.config import AgentFolder, load_enrolment, load_identity
from edge_agent.database import Database
from edge_agent.forward.key import ForwardingKey
from edge_agent.host_keys.commands import ENDS, Vaults, move_keys
from edge_agent.host_keys.erase import MAY_REMAIN
from edge_agent.host_keys.move import left_over
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore, file_name
from edge_agent.host_keys.vault import KeyName, KeyNotOfThisTpm, KeyVault, KeyVaultUnavailable
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.errors import Refused
from shared.fleet.keys import KeyProtection
from tests.edge_agent.host_keys.needles import found_in, private_parts
from tests.fakes.clock import FakeClock
from tests.fakes.dicom_pki import party
from tests.fakes.log import MemoryLog
from tests.fakes.software_tpm import SoftwareTpm

FILE, TPM = KeyProtection


@pytest.fixture
def host(enrolled: AgentFolder) -> AgentFolder:
    """A host with each kind of key, all of them files."""
    keys = HostKeyStore(enrolled.identity, FILES)
    DicomCertificate(keys, ["127.0.0.1"], FakeClock(), MemoryLog()).ensure()
    ForwardingKey(keys).public()
    return enrolled


@pytest.fixture
def vault(tpm: SoftwareTpm) -> Vaults:
    return vaults_of(tpm)


class Remembered:
    """A TPM that is asked once what a wrapped key opens to: the same bytes lie in many folders that are looked at."""

    protection = TPM

    def __init__(self, vault: KeyVault) -> None:
        self._vault = vault
        self._opened: dict[tuple[KeyName, bytes], bytes] = {}

    def wrap(self, name: KeyName, private: bytes, /) -> bytes:
        return self._vault.wrap(name, private)

    def unwrap(self, name: KeyName, wrapped: bytes, /) -> bytes:
        if (name, wrapped) not in self._opened:
            self._opened[name, wrapped] = self._vault.unwrap(name, wrapped)
        return self._opened[name, wrapped]

    def split(self, content: bytes, /) -> tuple[bytes, bytes]:
        return self._vault.split(content)


def vaults_of(tpm: SoftwareTpm) -> Vaults:
    remembered = Remembered(tpm.vault)

    def vault(protection: KeyProtection) -> KeyVault:
        return remembered if protection is TPM else FILES

    return vault


def moved(folder: AgentFolder, to: KeyProtection, vault: Vaults) -> list[str]:
    return list(move_keys(folder, to, FakeClock(), vault))


def all_of(folder: AgentFolder, vault: Vaults) -> dict[KeyName, bytes]:
    keys = load_identity(folder, vault).keys
    return {name: keys.load(name) for name in KeyName if keys.has(name)}


def records(folder: AgentFolder) -> list[AuditRecord]:
    with closing(Database(folder.database)) as database:
        journal = Journal(database, load_enrolment(folder).config.host_id, key=lambda: None, clock=FakeClock())
        unsent = journal.after(0, most=100, most_bytes=1 << 20)
    assert unsent is not None
    return [AuditRecord.parse(stored.public) for stored in unsent.records]


def test_in_the_tpm_no_file_of_the_agent_holds_a_private_key(host: AgentFolder, vault: Vaults) -> None:
    parts = private_parts(host, vault)
    before = {name: found_in(host.path, needles) for name, needles in parts.items()}
    moved(host, TPM, vault)

    # The control: the same search finds each of them while they are files.
    assert before == {
        "tls": {"identity/tls.pem"},
        "evidence": {"identity/evidence.key"},
        "dicom": {"identity/dicom.pem"},
        "forwarding": {"identity/forwarding.key"},
    }
    assert {name: found_in(host.path, needles) for name, needles in parts.items()} == {name: set() for name in parts}


def test_a_key_that_was_only_asked_for_and_cannot_be_read_holds_no_move_up(host: AgentFolder, vault: Vaults) -> None:
    moved(host, TPM, vault)
    before = all_of(host, vault)
    fresh = host.identity / file_name(KeyName.FRESH, TPM)
    fresh.write_bytes(b"cut off")
    moved(host, FILE, vault)

    assert all_of(host, vault) == before
    assert not fresh.exists()
    moved(host, TPM, vault)
    (host.identity / file_name(KeyName.TLS, TPM)).write_bytes(b"cut off")  # control: what is needed does
    with pytest.raises(Refused):
        moved(host, FILE, vault)


@pytest.mark.parametrize("there", [TPM, FILE])
def test_the_same_keys_serve_afterwards(host: AgentFolder, vault: Vaults, there: KeyProtection) -> None:
    before = all_of(host, vault)
    moved(host, TPM, vault)
    if there is FILE:
        moved(host, FILE, vault)

    assert load_enrolment(host).config.keys is there
    assert all_of(host, vault) == before
    assert {file.stat().st_mode & 0o777 for file in host.identity.iterdir()} == {0o600}


def test_it_says_what_it_erased_and_what_may_remain_and_records_who_did_it(host: AgentFolder, vault: Vaults) -> None:
    told = moved(host, TPM, vault)

    assert told[:2] == ["keys: tpm", ENDS]
    assert f"erased: {host.identity / 'evidence.key'}" in told
    assert told[-1] == MAY_REMAIN
    (record,) = [record for record in records(host) if record.event is Event.KEYS_MOVED]
    assert (record.outcome, record.what[0].name, record.who[0].kind) == (Outcome.SUCCESS, "tpm", "person")


def test_a_second_time_changes_nothing(host: AgentFolder, vault: Vaults) -> None:
    moved(host, TPM, vault)
    before = {file.name: file.read_bytes() for file in host.identity.iterdir()}

    assert moved(host, TPM, vault) == ["the keys were there already: tpm"]
    assert {file.name: file.read_bytes() for file in host.identity.iterdir()} == before


def test_nobody_moves_the_keys_of_an_agent_that_runs(host: AgentFolder, vault: Vaults) -> None:
    from edge_agent.agent import AlreadyRunning

    with locked(host), pytest.raises(AlreadyRunning):
        moved(host, TPM, vault)
    assert load_enrolment(host).config.keys is FILE


class Failing:
    """A TPM that stops after so many keys."""

    protection = TPM

    def __init__(self, vault: KeyVault, keys: int) -> None:
        self._vault, self._left = vault, keys

    def wrap(self, name: KeyName, private: bytes, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise KeyVaultUnavailable("it has gone")
        return self._vault.wrap(name, private)

    def unwrap(self, name: KeyName, wrapped: bytes, /) -> bytes:
        return self._vault.unwrap(name, wrapped)

    def split(self, content: bytes, /) -> tuple[bytes, bytes]:
        return self._vault.split(content)


def test_a_tpm_that_fails_half_way_leaves_the_keys_as_they_were(host: AgentFolder, tpm: SoftwareTpm) -> None:
    before = {file.name: file.read_bytes() for file in host.identity.iterdir()}
    failing = Failing(tpm.vault, 2)
    with pytest.raises(KeyVaultUnavailable):
        moved(host, TPM, lambda protection: failing if protection is TPM else FILES)

    assert {file.name: file.read_bytes() for file in host.identity.iterdir()} == before
    (record,) = [record for record in records(host) if record.event is Event.KEYS_MOVED]
    assert record.outcome is Outcome.MINOR_FAILURE
    assert "it has gone" in record.reason


def test_another_machine_s_tpm_gives_nothing_and_takes_nothing(
    host: AgentFolder, vault: Vaults, own_tpm: SoftwareTpm
) -> None:
    moved(host, TPM, vault)
    before = {file.name: file.read_bytes() for file in host.identity.iterdir()}
    for to in KeyProtection:
        with pytest.raises(KeyNotOfThisTpm):
            moved(host, to, vaults_of(own_tpm))

    assert {file.name: file.read_bytes() for file in host.identity.iterdir()} == before


# ---- cut off


class Cuts:
    """The folder as it stood before every step that changes a disk."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder, self._kept = folder, kept
        self.folders: list[AgentFolder] = []

    def take(self) -> None:
        cut = self._kept / str(len(self.folders))
        shutil.copytree(self._folder, cut)
        self.folders.append(AgentFolder(cut))

    @contextmanager
    def at_every_step(self) -> Iterator[None]:
        def first(act: Callable[..., object]) -> Callable[..., object]:
            def taken(*arguments: object, **named: object) -> object:
                self.take()
                return act(*arguments, **named)

            return taken

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
                patch.setattr(owner, name, first(getattr(owner, name)))
            yield
        self.take()


@pytest.mark.parametrize("to", [TPM, FILE])
def test_cut_off_anywhere_the_keys_still_open_and_the_next_start_leaves_one_kind(
    host: AgentFolder, vault: Vaults, tmp_path: Path, to: KeyProtection
) -> None:
    if to is FILE:
        moved(host, TPM, vault)
    before, parts = all_of(host, vault), private_parts(host, vault)
    cuts = Cuts(host.path, tmp_path / "cuts")
    with cuts.at_every_step():
        moved(host, to, vault)

    found = {load_enrolment(cut).config.keys for cut in cuts.folders}
    assert found == {FILE, TPM}
    for cut in cuts.folders:
        counts = load_enrolment(cut).config.keys
        assert all_of(cut, vault) == before
        left = left_over(cut.identity, counts)
        moved(cut, counts, vault)  # as a start does, it puts in order what was cut off
        if left:
            record = [one for one in records(cut) if one.event is Event.KEYS_MOVED][-1]
            assert (record.outcome, "cut off" in record.reason) == (Outcome.MINOR_FAILURE, True)
        assert left_over(cut.identity, counts) == []
        assert all_of(cut, vault) == before
        if counts is TPM:
            assert not any(found_in(cut.path, needles) for needles in parts.values())


def test_killed_in_the_middle_the_old_keys_count(host: AgentFolder, tpm: SoftwareTpm, vault: Vaults) -> None:
    before = all_of(host, vault)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.edge_agent.host_keys.killed", str(host.path), str(tpm.port)],
        stderr=subprocess.PIPE,
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (host.identity / "tls.tpm.pem").exists()
    assert load_enrolment(host).config.keys is FILE
    assert all_of(host, vault) == before
    assert moved(host, TPM, vault)[0] == "keys: tpm"
    assert all_of(host, vault) == before


# ---- the hospital's certificate


@pytest.mark.parametrize("linked", ["symlink", "hard link"])
def test_a_file_of_theirs_that_is_only_linked_here_stays_as_it_is(
    host: AgentFolder, vault: Vaults, tmp_path: Path, linked: str
) -> None:
    theirs = party(tmp_path, "hospital")
    content, place = theirs.chain.read_bytes(), host.identity / "dicom.pem"
    place.unlink()
    if linked == "symlink":
        place.symlink_to(theirs.chain)
    else:
        place.hardlink_to(theirs.chain)
    moved(host, TPM, vault)

    assert theirs.chain.read_bytes() == content
    assert not place.exists()
    assert load_identity(host, vault).keys.load(KeyName.DICOM) == content


def test_a_certificate_that_people_put_there_is_taken_into_the_tpm(
    host: AgentFolder, vault: Vaults, tmp_path: Path
) -> None:
    moved(host, TPM, vault)
    theirs = party(tmp_path, "hospital")
    shutil.copy(theirs.chain, host.identity / "dicom.pem")
    moved(host, TPM, vault)

    keys = load_identity(host, vault).keys
    assert keys.load(KeyName.DICOM) == theirs.chain.read_bytes()
    assert not (host.identity / "dicom.pem").exists()
    found = DicomCertificate(keys, ["127.0.0.1"], FakeClock(), MemoryLog()).ensure()
    assert found.public_bytes(Encoding.PEM).decode() == theirs.pem
