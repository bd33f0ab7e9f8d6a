"""Keys of a TPM where a library reads files: for modalities over TLS, and for what waits for an archive."""

import ssl
from pathlib import Path

import pytest

from edge_agent.capture.certificate import DicomCertificate
from edge_agent.capture.tls import client_context, server_context
from edge_agent.forward.key import ForwardingKey, ForwardingKeyUnusable
from edge_agent.host_keys.opened import OpenedKey
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyName, KeyVault
from edge_agent.memory_file import in_memory
from shared.fleet.keys import KeyProtection
from tests.fakes.clock import FakeClock
from tests.fakes.dicom_pki import party
from tests.fakes.log import MemoryLog
from tests.fakes.software_tpm import SoftwareTpm


class Counting:
    """A vault that counts how often it was asked for a key."""

    protection = KeyProtection.TPM

    def __init__(self, vault: KeyVault) -> None:
        self._vault, self.opened = vault, 0

    def wrap(self, name: KeyName, private: bytes, /) -> bytes:
        return self._vault.wrap(name, private)

    def unwrap(self, name: KeyName, wrapped: bytes, /) -> bytes:
        self.opened += 1
        return self._vault.unwrap(name, wrapped)

    def split(self, content: bytes, /) -> tuple[bytes, bytes]:
        return self._vault.split(content)


@pytest.fixture
def vault(tpm: SoftwareTpm) -> Counting:
    return Counting(tpm.vault)


@pytest.fixture
def keys(vault: Counting, tmp_path: Path) -> HostKeyStore:
    return HostKeyStore(tmp_path, vault)


def test_modalities_are_served_with_a_key_that_lies_on_no_disk(keys: HostKeyStore, tmp_path: Path) -> None:
    ct = party(tmp_path / "pki", "ct")
    made = DicomCertificate(keys, ["127.0.0.1"], FakeClock(), MemoryLog()).ensure()
    opened = OpenedKey(keys, KeyName.DICOM)

    with opened.readable() as file:
        context = server_context(file, ct.pem)
    assert isinstance(context, ssl.SSLContext)
    assert b"PRIVATE KEY" not in keys.file(KeyName.DICOM).read_bytes()
    assert made.not_valid_after_utc > FakeClock().now()


def test_the_tpm_is_asked_once_for_as_long_as_the_file_stays(
    keys: HostKeyStore, vault: Counting, tmp_path: Path
) -> None:
    clock = FakeClock()
    DicomCertificate(keys, ["127.0.0.1"], clock, MemoryLog()).ensure()
    ct, opened = party(tmp_path / "pki", "ct"), OpenedKey(keys, KeyName.DICOM)
    for _ in range(3):
        with opened.readable() as file:
            client_context(file, ct.pem)
    assert vault.opened == 1

    keys.file(KeyName.DICOM).unlink()
    DicomCertificate(keys, ["127.0.0.1"], clock, MemoryLog()).ensure()
    with opened.readable() as file:
        client_context(file, ct.pem)
    assert vault.opened == 2


def test_the_forwarding_key_is_made_in_the_tpm_and_stays_the_same(keys: HostKeyStore) -> None:
    made = ForwardingKey(keys, lambda count: bytes(range(count))).public()

    assert bytes(range(32)) not in keys.file(KeyName.FORWARDING).read_bytes()
    assert ForwardingKey(keys).public() == made
    # The control: where keys are files, the seed lies there as it is.
    plain = HostKeyStore(keys.folder, FILES)
    ForwardingKey(plain, lambda count: bytes(range(count))).public()
    assert plain.file(KeyName.FORWARDING).read_bytes() == bytes(range(32))


def test_a_forwarding_key_of_another_tpm_is_unusable_and_never_made_anew(
    keys: HostKeyStore, own_tpm: SoftwareTpm
) -> None:
    ForwardingKey(keys).public()
    before = keys.file(KeyName.FORWARDING).read_bytes()
    elsewhere = HostKeyStore(keys.folder, own_tpm.vault)

    for use in (ForwardingKey(elsewhere).public, ForwardingKey(elsewhere).private):
        with pytest.raises(ForwardingKeyUnusable, match="another TPM"):
            use()
    assert keys.file(KeyName.FORWARDING).read_bytes() == before


def test_a_file_in_memory_has_no_name_on_a_disk_and_is_gone_afterwards() -> None:
    with in_memory(b"secret") as file:
        assert file.read_bytes() == b"secret"
        assert str(file.readlink()).startswith("/memfd:")
        assert file.stat().st_mode & 0o777 == 0o600

    assert not file.exists() or file.read_bytes() != b"secret"
