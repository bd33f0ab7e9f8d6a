"""What protects keys at rest: the same contract for files and for a TPM, and what a TPM does beyond it."""

import base64
import subprocess
from pathlib import Path

import pytest

from edge_agent.host_keys import classify, credential
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.tpm import TpmVault
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVault, KeyVaultUnavailable
from tests.fakes import tpm_commands
from tests.fakes.software_tpm import SoftwareTpm, UnmanagedVault, software_tpm

PRIVATE = b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(params=["file", "tpm"])
def vault(request: pytest.FixtureRequest) -> KeyVault:
    if request.param == "file":
        return FILES
    tpm: SoftwareTpm = request.getfixturevalue("tpm")
    return tpm.vault


# ---- the contract


@pytest.mark.parametrize("private", [PRIVATE, bytes(range(32)), b"\n \x00"])
def test_gives_back_the_key_that_it_was_given(vault: KeyVault, private: bytes) -> None:
    assert vault.unwrap(KeyName.TLS, vault.wrap(KeyName.TLS, private)) == private


@pytest.mark.parametrize("public", [b"", CERTIFICATE, CERTIFICATE * 2])
def test_finds_the_key_behind_what_anybody_may_read(vault: KeyVault, public: bytes) -> None:
    wrapped = vault.wrap(KeyName.TLS, PRIVATE)

    assert vault.split(public + wrapped) == (public, wrapped)


# ---- the TPM


def test_what_a_tpm_wrapped_holds_nothing_of_the_key_and_a_file_does(tpm: SoftwareTpm) -> None:
    assert PRIVATE not in tpm.vault.wrap(KeyName.TLS, PRIVATE)
    assert PRIVATE in FILES.wrap(KeyName.TLS, PRIVATE)


def test_new_firmware_locks_nobody_out(own_tpm: SoftwareTpm) -> None:
    wrapped = own_tpm.vault.wrap(KeyName.TLS, PRIVATE)
    bound = _encrypted(own_tpm, "--with-key=tpm2", "--tpm2-pcrs=7")
    assert set(own_tpm.send(*tpm_commands.new_firmware())) == {0}

    assert own_tpm.vault.unwrap(KeyName.TLS, wrapped) == PRIVATE
    assert own_tpm.send(tpm_commands.extend_the_still_pcr()) == [tpm_commands.LOCALITY]
    # The control: one that is bound to the firmware's measurements does not open any more.
    refused = _decrypted(own_tpm, bound)
    assert refused.returncode != 0
    assert str(classify.fault(KeyName.TLS, refused.stderr.decode())).endswith(classify.OTHER_LAUNCH)


def test_a_restart_of_the_machine_changes_nothing(tmp_path: Path, tpm: SoftwareTpm) -> None:
    with software_tpm(tmp_path / "tpm") as first:
        wrapped = first.vault.wrap(KeyName.TLS, PRIVATE)
    with software_tpm(tmp_path / "tpm") as again:
        assert again.vault.unwrap(KeyName.TLS, wrapped) == PRIVATE


def test_another_tpm_opens_nothing_and_says_so(tpm: SoftwareTpm, own_tpm: SoftwareTpm) -> None:
    with pytest.raises(KeyNotOfThisTpm, match="enrol this host anew"):
        own_tpm.vault.unwrap(KeyName.EVIDENCE, tpm.vault.wrap(KeyName.EVIDENCE, PRIVATE))


def test_a_tpm_that_was_cleared_opens_nothing_and_says_so(own_tpm: SoftwareTpm) -> None:
    wrapped = own_tpm.vault.wrap(KeyName.TLS, PRIVATE)
    assert own_tpm.send(tpm_commands.clear()) == [0]

    with pytest.raises(KeyNotOfThisTpm, match="before it was cleared"):
        own_tpm.vault.unwrap(KeyName.TLS, wrapped)
    assert own_tpm.vault.unwrap(KeyName.TLS, own_tpm.vault.wrap(KeyName.TLS, PRIVATE)) == PRIVATE


def test_a_tpm_that_is_locked_out_says_so_and_opens_again_afterwards(own_tpm: SoftwareTpm) -> None:
    """What systemd seals counts as guessable to a TPM, though it has no password."""
    wrapped = own_tpm.vault.wrap(KeyName.TLS, PRIVATE)
    assert own_tpm.send(tpm_commands.allow_wrong_answers(0)) == [0]

    with pytest.raises(KeyVaultUnavailable, match="until its lockout time is over"):
        own_tpm.vault.unwrap(KeyName.TLS, wrapped)
    assert own_tpm.send(tpm_commands.allow_wrong_answers(32)) == [0]
    assert own_tpm.vault.unwrap(KeyName.TLS, wrapped) == PRIVATE


def test_a_key_in_the_place_of_another_is_refused(tpm: SoftwareTpm) -> None:
    wrapped = tpm.vault.wrap(KeyName.EVIDENCE, PRIVATE)

    with pytest.raises(KeyMisplaced, match="another name"):
        tpm.vault.unwrap(KeyName.TLS, wrapped)


def test_one_that_no_tpm_protects_is_refused_though_systemd_creds_opens_it(tpm: SoftwareTpm) -> None:
    anybody_s = _encrypted(tpm, "--with-key=tpm2-absent")

    assert _decrypted(tpm, anybody_s).stdout == PRIVATE
    with pytest.raises(KeyMisplaced, match="another key than the TPM's alone"):
        tpm.vault.unwrap(KeyName.TLS, credential.armour(anybody_s))


def test_a_flipped_bit_anywhere_is_refused(tpm: SoftwareTpm) -> None:
    wrapped = tpm.vault.wrap(KeyName.TLS, PRIVATE)
    data = base64.b64decode(credential.parse(wrapped))

    for place in range(0, len(data), 29):
        flipped = bytearray(data)
        flipped[place] ^= 1
        with pytest.raises((KeyMisplaced, KeyNotOfThisTpm, KeyVaultUnavailable)):
            tpm.vault.unwrap(KeyName.TLS, credential.armour(base64.b64encode(bytes(flipped))))


def test_without_a_tpm_it_says_what_to_do() -> None:
    with pytest.raises(KeyVaultUnavailable, match="switch it on in the firmware"):
        TpmVault("device:/dev/no-such-tpm").wrap(KeyName.TLS, PRIVATE)


def test_without_systemd_creds_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyVaultUnavailable, match="has no systemd-creds"):
        TpmVault("swtpm:port=1", str(tmp_path)).wrap(KeyName.TLS, PRIVATE)


def test_a_tpm_that_is_not_there_any_more_is_no_refusal_of_the_key(tmp_path: Path) -> None:
    with software_tpm(tmp_path / "tpm") as tpm:
        vault, wrapped = tpm.vault, tpm.vault.wrap(KeyName.TLS, PRIVATE)

    with pytest.raises(KeyVaultUnavailable):
        vault.unwrap(KeyName.TLS, wrapped)


def test_an_environment_that_names_another_tpm_is_not_followed(
    tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", "swtpm:host=127.0.0.1,port=1")
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_VALIDATE_NAME", "0")
    wrapped = tpm.vault.wrap(KeyName.EVIDENCE, PRIVATE)

    with pytest.raises(KeyMisplaced):
        tpm.vault.unwrap(KeyName.TLS, wrapped)


class AnAccount(UnmanagedVault):
    """Ours under an account that is not root, with these programs."""

    def __init__(self, port: int, programs: Path) -> None:
        super().__init__(port)
        self._path, self._account = str(programs), lambda: 1000


def programs_of(folder: Path, version: int, **others: str) -> Path:
    """Make the real systemd-creds say that it is of another version, and from 256 on refuse whoever is not root."""
    folder.mkdir()
    script = (
        f'#!/bin/sh\n[ "$1" = --version ] && echo "systemd {version} (of a test)" && exit\n'
        f'[ {version} -lt 256 ] || grep -q " 0 *1$" /proc/self/uid_map || exit 9\n'
        'exec /usr/bin/systemd-creds "$@"\n'
    )
    for name, text in {"systemd-creds": script, **others}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def test_a_systemd_that_asks_a_service_is_had_to_speak_to_the_tpm_itself(tpm: SoftwareTpm, tmp_path: Path) -> None:
    programs = programs_of(tmp_path / "bin", 257, unshare='#!/bin/sh\nexec /usr/bin/unshare "$@"\n')
    vault = AnAccount(tpm.port, programs)

    assert vault.unwrap(KeyName.TLS, vault.wrap(KeyName.TLS, PRIVATE)) == PRIVATE
    # The control: without a namespace of its own this one does nothing.
    (programs / "unshare").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    with pytest.raises(KeyVaultUnavailable):
        vault.wrap(KeyName.TLS, PRIVATE)


def test_where_no_namespace_is_to_be_had_it_says_so(tpm: SoftwareTpm, tmp_path: Path) -> None:
    refusing = "#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n"
    vault = AnAccount(tpm.port, programs_of(tmp_path / "bin", 257, unshare=refusing))

    with pytest.raises(KeyVaultUnavailable, match="only in a user namespace"):
        vault.wrap(KeyName.TLS, PRIVATE)


def test_the_systemd_of_debian_12_needs_no_namespace(tpm: SoftwareTpm, tmp_path: Path) -> None:
    vault = AnAccount(tpm.port, programs_of(tmp_path / "bin", 252))

    assert vault.unwrap(KeyName.TLS, vault.wrap(KeyName.TLS, PRIVATE)) == PRIVATE


@pytest.mark.parametrize(
    "version, asks",
    [("systemd 252 (252.39-1~deb12u2)\n+PAM", False), ("systemd 255\n", False), ("systemd 256~rc1", True), ("", True)],
)
def test_from_256_on_it_asks_a_service(version: str, asks: bool) -> None:
    assert classify.asks_a_service(version) is asks


@pytest.mark.parametrize(
    "said, why",
    [
        ("TPM2 device is in dictionary attack lockout mode.", classify.LOCKED_OUT),
        ("TPM2 support is not installed.", classify.NO_LIBRARIES),
        ("Failed to initialize TCTI context: Permission denied", classify.NOT_LET_IN),
    ],
)
def test_what_systemd_creds_says_becomes_what_to_do(said: str, why: str) -> None:
    assert str(classify.fault(KeyName.TLS, said)).endswith(why)


def test_what_is_not_foreseen_is_told_in_one_printable_line() -> None:
    told = str(classify.fault(KeyName.TLS, "first\n\x1b[31mthe TPM has gone\n" + "x" * 5000))

    assert "the TPM has gone" in told
    assert "\x1b" not in told
    assert len(told) < 400


def _encrypted(tpm: SoftwareTpm, *options: str) -> bytes:
    """Return what systemd-creds makes when it is asked in another way than we ask it."""
    tpm.send(*tpm_commands.flush())
    command = ["systemd-creds", "encrypt", f"--tpm2-device={tpm.vault.device}", "--name=leadglass-tls", *options]
    return subprocess.run([*command, "-", "-"], input=PRIVATE, capture_output=True, check=True).stdout


def _decrypted(tpm: SoftwareTpm, given: bytes) -> "subprocess.CompletedProcess[bytes]":
    tpm.send(*tpm_commands.flush())
    command = ["systemd-creds", "decrypt", f"--tpm2-device={tpm.vault.device}", "--name=leadglass-tls", "-", "-"]
    return subprocess.run(command, input=given, capture_output=True, check=False)
