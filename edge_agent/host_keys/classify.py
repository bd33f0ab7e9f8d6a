"""Decides what is wrong with a TPM from what systemd-creds says, since its exit code is 1 for everything."""

import re

from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVaultUnavailable

# systemd 252 and later, and the texts of tpm2-tss for the TPM's own codes. Compared in lower case.
_NO_NAMESPACE = ("unshare:",)
_NO_SUPPORT = ("tpm2 support is not installed", "failed to dlopen", "no tpm2 support")
_NOT_LET_IN = ("permission denied", "operation not permitted")
_LOCKED_OUT = ("lockout",)
_OF_ANOTHER = ("integrity check failed",)
_OTHER_LAUNCH = ("policy digest does not match", "policy check failed")
_OTHER_NAME = ("does not match filename", "embedded credential name")
_MOST_CHARS = 200
_FIRST_WITH_SERVICE = 256

NO_PROGRAM = "this system has no systemd-creds (systemd 250 or later); install it, or use --keys file"
NO_NAMESPACE = (
    "systemd-creds 256 and later lets an ordinary account use the TPM only in a user namespace, and this system makes "
    "none for it (`unshare --map-root-user true` says why); allow that, or use --keys file"
)
NO_TPM = (
    "there is no TPM 2.0 at /dev/tpmrm0; switch it on in the firmware (it may be called PTT, fTPM or security device), "
    "then start again"
)
NO_LIBRARIES = (
    "systemd-creds lacks the TPM libraries; install them (on Debian 12: libtss2-esys-3.0.2-0, libtss2-mu0, "
    "libtss2-rc0 and libtss2-tcti-device0)"
)
NOT_LET_IN = (
    "this account may not open /dev/tpmrm0; add it to the group that owns it (`usermod --append --groups tss "
    "leadglass`), then start it again"
)
OTHER_LAUNCH = (
    "a dynamic launch (Intel TXT, tboot) was switched on or off since the key was encrypted, and PCR 22 shows it; "
    "switch it back, move the keys to a file, and only then change it; or this is another machine than the key is of"
)
LOCKED_OUT = (
    "the TPM is locked, after too many wrong answers to something else on this machine or by whoever owns it; leave it "
    "switched on until its lockout time is over, or reset the lockout with its lockout password"
)


def fault(name: KeyName, said: str) -> KeyVaultUnavailable | KeyNotOfThisTpm | KeyMisplaced:
    """Return what it means that systemd-creds failed and `said` this."""
    text = said.lower()
    if any(part in text for part in _NO_NAMESPACE):
        return KeyVaultUnavailable(NO_NAMESPACE)
    if any(part in text for part in _OTHER_NAME):
        return KeyMisplaced(name, "it was encrypted under another name")
    if any(part in text for part in _LOCKED_OUT):
        return KeyVaultUnavailable(LOCKED_OUT)
    if any(part in text for part in _NO_SUPPORT):
        return KeyVaultUnavailable(NO_LIBRARIES)
    if any(part in text for part in _NOT_LET_IN):
        return KeyVaultUnavailable(NOT_LET_IN)
    if any(part in text for part in _OTHER_LAUNCH):
        return KeyVaultUnavailable(OTHER_LAUNCH)
    if any(part in text for part in _OF_ANOTHER):
        return KeyNotOfThisTpm(name)
    return KeyVaultUnavailable(f"systemd-creds failed and said: {_one_line(said)}")


def asks_a_service(version: str) -> bool:
    """Return whether systemd-creds of this `--version` leaves the work to a service where it is not root."""
    found = re.match(r"systemd (\d+)", version)
    return found is None or int(found[1]) >= _FIRST_WITH_SERVICE


def _one_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    printable = "".join(character for character in " / ".join(lines[-2:]) if character.isprintable())
    return printable[:_MOST_CHARS] or "nothing"
