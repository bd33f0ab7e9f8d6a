"""The host's private keys in its identity folder, each a file of its own.

    file   tls.pem      evidence.key      dicom.pem      forwarding.key      witness.key
    tpm    tls.tpm.pem  evidence.tpm.key  dicom.tpm.pem  forwarding.tpm.key  witness.tpm.key

and fresh.pem or fresh.tpm.pem, a certificate request and its key, while this host asks for a certificate.

    each   what anybody may read, such as certificates || the private key as its vault wraps it; 0600

The two kinds have names of their own, so that both can lie there while keys move from one to the other. Which of them
counts, `host.json` says alone.
"""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.enrol.store import IdentityUnreadable, replace
from edge_agent.host_keys.plain import FileVault
from edge_agent.host_keys.tpm import TpmVault
from edge_agent.host_keys.vault import KeyName, KeyVault
from shared.fleet.keys import KeyProtection

_NAMES = {
    KeyName.TLS: ("tls", ".pem"),
    KeyName.EVIDENCE: ("evidence", ".key"),
    KeyName.DICOM: ("dicom", ".pem"),
    KeyName.FORWARDING: ("forwarding", ".key"),
    KeyName.WITNESS: ("witness", ".key"),
    KeyName.FRESH: ("fresh", ".pem"),
}
_BETWEEN = {KeyProtection.FILE: "", KeyProtection.TPM: ".tpm"}


def file_name(name: KeyName, protection: KeyProtection) -> str:
    stem, suffix = _NAMES[name]
    return stem + _BETWEEN[protection] + suffix


def vault_of(protection: KeyProtection) -> KeyVault:
    return TpmVault() if protection is KeyProtection.TPM else FileVault()


@dataclass(frozen=True)
class HostKeyStore:
    folder: Path
    vault: KeyVault

    def file(self, name: KeyName) -> Path:
        return self.folder / file_name(name, self.vault.protection)

    def has(self, name: KeyName) -> bool:
        return self.file(name).exists()

    def load(self, name: KeyName) -> bytes:
        """Return all of the file, with the key in clear.

        Raises IdentityUnreadable, KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced.
        """
        public, private = self.load_parts(name)
        return public + private

    def load_parts(self, name: KeyName) -> tuple[bytes, bytes]:
        """Return what anybody may read, and the key in clear. Raises like `load`."""
        file = self.file(name)
        try:
            content = file.read_bytes()
        except OSError as exc:
            raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc
        public, wrapped = self.vault.split(content)
        return public, self.vault.unwrap(name, wrapped)

    def store(self, name: KeyName, public: bytes, private: bytes) -> None:
        """Put this in the place of the file, whole or not at all. Raises KeyVaultUnavailable, IdentityNotStored."""
        self.put(name, public, self.vault.wrap(name, private))

    def put(self, name: KeyName, public: bytes, wrapped: bytes) -> None:
        """Do what `store` does with a key that was wrapped before. Raises IdentityNotStored."""
        replace(self.file(name), public + wrapped)
