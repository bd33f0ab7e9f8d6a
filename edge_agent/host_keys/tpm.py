"""Keys that only this machine's TPM gives back, through systemd-creds.

Bound to the TPM and to the key's name, and not to what was started: new firmware, another boot loader or another
kernel change nothing. So whoever is root here, or runs here in the TPM's group, can open them too; whoever has the
disk alone cannot.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.host_keys import classify, credential
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVaultUnavailable
from shared.errors import Malformed
from shared.fleet.keys import KeyProtection

DEVICE = "device:/dev/tpmrm0"
_PROGRAM = "systemd-creds"
# To itself the program is root then. It gains nothing: to all others it is still our account, with its groups.
_AS_ROOT = ("unshare", "--map-root-user", "--")
_PATH = "/usr/bin:/bin"  # of the system alone, wherever we were started
_MOST_S = 60.0


class TpmVault:
    """`device` is what tpm2-tss calls the way to the TPM: `driver:where`."""

    protection = KeyProtection.TPM

    def __init__(self, device: str = DEVICE, path: str = _PATH, account: Callable[[], int] = os.geteuid) -> None:
        self.device, self._path, self._account = device, path, account

    def wrap(self, name: KeyName, private: bytes, /) -> bytes:
        made = self._run(name, "encrypt", private, "--with-key=tpm2", f"--tpm2-pcrs={credential.STILL_PCR}")
        try:
            credential.verify_kind(made)
        except Malformed as exc:
            raise KeyVaultUnavailable(f"systemd-creds did not do as it was told: {exc.why}") from exc
        wrapped = credential.armour(made)
        try:
            given_back = self.unwrap(name, wrapped)
        except (KeyMisplaced, KeyNotOfThisTpm) as exc:
            raise KeyVaultUnavailable(f"the TPM does not give back what it was given: {exc}") from exc
        if given_back != private:
            raise KeyVaultUnavailable("the TPM does not give back what it was given")
        return wrapped

    def unwrap(self, name: KeyName, wrapped: bytes, /) -> bytes:
        try:
            given = credential.parse(wrapped)
        except Malformed as exc:
            raise KeyMisplaced(name, exc.why) from exc
        return self._run(name, "decrypt", given)

    def split(self, content: bytes, /) -> tuple[bytes, bytes]:
        return credential.split(content)

    def _run(self, name: KeyName, verb: str, given: bytes, *options: str) -> bytes:
        self._look_at_device()
        program = self._program()
        done = self._done(
            [*program, verb, f"--tpm2-device={self.device}", f"--name=leadglass-{name}", *options, "-", "-"], given
        )
        if done.returncode != 0:
            raise classify.fault(name, done.stderr.decode(errors="replace"))
        return done.stdout

    def _program(self) -> list[str]:
        """Return how systemd-creds is started so that it speaks to the TPM itself.

        From 256 on it asks a service instead unless it is root, and the service takes a key of its own choice.
        """
        program = self._found(_PROGRAM, classify.NO_PROGRAM)
        if self._account() == 0:
            return [program]
        version = self._done([program, "--version"]).stdout.decode(errors="replace")
        if not classify.asks_a_service(version):
            return [program]
        unshare, *options = _AS_ROOT
        return [self._found(unshare, classify.NO_NAMESPACE), *options, program]

    def _found(self, program: str, otherwise: str) -> str:
        found = shutil.which(program, path=self._path)
        if found is None:
            raise KeyVaultUnavailable(otherwise)
        return found

    def _done(self, command: Sequence[str], given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        try:
            # An environment of its own: one of ours could name another TPM, or switch the check of the name off.
            return subprocess.run(command, input=given, capture_output=True, env={}, timeout=_MOST_S, check=False)
        except subprocess.TimeoutExpired as exc:
            raise KeyVaultUnavailable(f"the TPM has not answered within {_MOST_S:.0f} s; try again") from exc
        except OSError as exc:
            raise KeyVaultUnavailable(f"{command[0]} cannot be started: {exc.strerror}") from exc

    def _look_at_device(self) -> None:
        """What systemd-creds would say about these two is the library's number for any failure at all."""
        driver, _, where = self.device.partition(":")
        if driver != "device":
            return
        if not Path(where).exists():
            raise KeyVaultUnavailable(classify.NO_TPM)
        if not os.access(where, os.R_OK | os.W_OK):
            raise KeyVaultUnavailable(classify.NOT_LET_IN)
