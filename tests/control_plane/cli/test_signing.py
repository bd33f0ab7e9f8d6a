"""Two administrators, as they meet it: commands, files that travel, a token, and a centre."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.__main__ import main
from tests.control_plane.cli.running import Centre, opened, run

POLICY = """\
layer: organisation
modalities: [{ae_title: CT1, description: "CT, room 1.14"}]
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
PIN = "4711-0815"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    with opened(tmp_path / "centre") as centre:
        yield centre


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def told(*arguments: str | Path) -> Any:
    """Return what a command that succeeds says to a script. In this process, for there are many of them."""
    said = StringIO()
    with redirect_stdout(said):
        assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(said.getvalue())


def compared(centre: Centre) -> tuple[str, str]:
    """Return what a signer reads to somebody who becomes one."""
    roots = told("policy", "root", *centre.who)["roots"]
    return "--root", roots[max(roots, key=int)]


def make_second(centre: Centre, folder: Path) -> tuple[str | Path, ...]:
    """Make Grace an administrator beside the first one, both needed; return what she acts with."""
    url = centre.who[2:]
    told("policy", "key", "new", folder / "grace", "--name", "Grace")
    credential, draft = folder / "credential-Grace.json", folder / "root.draft"
    told("person", "add", "--key", folder / "grace.pub", "--role", "administrator", "--out", credential, *centre.who)
    told("policy", "root", "propose", "--add", folder / "grace.pub", "--threshold", "2", "--out", draft, *centre.who)
    assert told("policy", "sign", draft, "--as", credential, *compared(centre))["missing"] == []
    told("policy", "publish", draft, *centre.who)
    return "--as", credential, *url


def test_two_administrators_add_a_layer(centre: Centre, policy: Path, tmp_path: Path) -> None:
    told("policy", "publish", policy, *centre.who)
    assert told("policy", "layer", "list", *centre.who)["layers"] == {"organisation": 1}
    grace, draft = make_second(centre, tmp_path), tmp_path / "layers.draft"
    code, _, errors = run("policy", "layer", "add", "site-north", *centre.who)
    assert (code, "others have to sign this too (targets: 1 more, of Grace)" in errors) == (1, True)

    lacking = told("policy", "layer", "add", "site-north", "modality-ct", "--out", draft, *centre.who)["missing"]
    assert lacking == ["targets: 1 more, of Grace"]
    code, said, _ = run("policy", "review", draft)
    assert (code, "it adds the layers modality-ct, site-north" in said) == (0, True)
    assert told("policy", "sign", draft, *grace[:2])["missing"] == []
    assert told("policy", "publish", draft, *centre.who) == {"version": 3}

    layers = {"modality-ct": 0, "organisation": 2, "site-north": 0}
    assert told("policy", "layer", "list", *centre.who)["layers"] == layers
    code, _, errors = run("policy", "layer", "add", "site-north", *centre.who)
    assert (code, "layer site-north is delegated already" in errors) == (1, True)
    assert run("policy", "layer", "add", "North", *centre.who)[0] == 2


def test_two_administrators_approve_a_policy(centre: Centre, policy: Path, tmp_path: Path) -> None:
    told("policy", "publish", policy, *centre.who)
    grace = make_second(centre, tmp_path)
    code, _, errors = run("policy", "publish", policy, *centre.who)
    assert code == 1
    assert "policy propose" in errors
    assert "1 more, of Grace" in errors
    draft = tmp_path / "policy.draft"
    lacking = told("policy", "propose", policy, "--out", draft, *centre.who)["missing"]
    code, _, errors = run("policy", "publish", draft, *centre.who)
    assert (code, lacking) == (1, ["layer organisation: 1 more, of Grace"])
    assert "signatures are missing: layer organisation: 1 more, of Grace" in errors
    code, out, _ = run("policy", "review", draft)
    assert "CT1" in out
    assert "still to sign" in out
    told("policy", "sign", draft, *grace[:2])

    assert told("policy", "publish", draft, *grace) == {"version": 3}
    code, out, _ = run("policy", "signers", *centre.who)
    assert "root          2 of 2: first-administrator, Grace; until " in out
    assert "organisation  2 of 2: first-administrator, Grace; until " in out


def test_a_lost_key_is_replaced_with_the_one_in_the_safe(centre: Centre, policy: Path, tmp_path: Path) -> None:
    for name in ("grace", "recovery", "edsger"):
        told("policy", "key", "new", tmp_path / name, "--name", name.title())
    grace, recovery, edsger = (tmp_path / f"{name}.pub" for name in ("grace", "recovery", "edsger"))
    draft = tmp_path / "signers.draft"
    propose = ("policy", "root", "propose", *centre.who, "--out")
    told(*propose, draft, "--add", grace, "--add", recovery, "--threshold", "2")
    root = compared(centre)
    lacking = [told("policy", "sign", draft, "--key", key, *root)["missing"] for key in (grace, recovery)]
    assert lacking == [["root, by each key that is new: 1 more, of Recovery"], []]
    told("policy", "publish", draft, *centre.who)
    grace.with_suffix("").unlink()
    draft = tmp_path / "change.draft"
    told(*propose, draft, "--remove", "Grace", "--add", edsger)
    told("policy", "sign", draft, "--key", recovery)
    told("policy", "sign", draft, "--key", edsger, *compared(centre))

    assert told("policy", "publish", draft, *centre.who) == {"version": 3}
    keys = told("policy", "signers", *centre.who)["roles"]["root"]["keys"]
    assert sorted(keys.values()) == ["Edsger", "Recovery", "first-administrator"]


def test_with_one_administrator_renewing_is_one_command(centre: Centre, policy: Path) -> None:
    told("policy", "publish", policy, *centre.who)

    assert told("policy", "root", "renew", *centre.who) == {"version": 2}
    assert told("policy", "publish", policy, *centre.who) == {"version": 3}
    _, out, _ = run("policy", "root", *centre.who)
    assert [line.split("  ")[0] for line in out.splitlines()] == ["policy root 1", "policy root 2"]


def test_a_centre_that_hides_a_root_has_nothing_signed(centre: Centre, policy: Path) -> None:
    told("policy", "root", "renew", *centre.who)
    told("policy", "publish", policy, *centre.who)
    seen = centre.handover / "credential-first-administrator.json.root"
    before = seen.read_text()
    seen.write_text(f'{{"sha256":"{"0" * 64}","v":1,"version":3}}')

    for act in (("publish", policy), ("root", "renew")):
        code, _, errors = run("policy", *act, *centre.who)
        assert code == 1
        assert "policy root 3, which was seen on this machine before" in errors
    seen.write_text(before)
    assert told("policy", "publish", policy, *centre.who) == {"version": 2}


def test_who_has_an_account_alone_is_told_that_the_list_of_signers_is_not_proved(
    centre: Centre, tmp_path: Path
) -> None:
    told("policy", "key", "new", tmp_path / "grace", "--name", "Grace")
    credential = tmp_path / "credential-Grace.json"
    told("person", "add", "--key", tmp_path / "grace.pub", "--role", "administrator", "--out", credential, *centre.who)

    assert "not proved" in run("policy", "signers", "--as", credential, *centre.who[2:])[1]
    assert "not proved" not in run("policy", "signers", *centre.who)[1]


def test_the_online_key_is_replaced_in_one_command(centre: Centre, policy: Path) -> None:
    told("policy", "publish", policy, *centre.who)
    before = told("policy", "signers", *centre.who)["roles"]
    told("policy", "root", "propose", "--new-online-key", *centre.who)
    after = told("policy", "signers", *centre.who)["roles"]

    assert after["timestamp"]["keys"] != before["timestamp"]["keys"]
    assert after["root"]["keys"].keys() == before["root"]["keys"].keys()


def test_whose_account_is_closed_asks_the_centre_for_nothing_more(centre: Centre, tmp_path: Path) -> None:
    grace = make_second(centre, tmp_path)
    told("policy", "signers", *grace)
    told("person", "remove", "Grace", *centre.who)

    code, _, errors = run("policy", "signers", *grace)
    assert code == 1
    assert "no valid sign-in" in errors
    code, _, errors = run("person", "remove", "first-administrator", *centre.who)
    assert "cannot remove their own account" in errors


def test_what_is_made_once_is_never_overwritten(centre: Centre, tmp_path: Path) -> None:
    key = ("policy", "key", "new", tmp_path / "grace", "--name", "Grace")
    told(*key)
    before = (tmp_path / "grace").read_bytes()

    code, _, errors = run(*key)
    assert code == 1
    assert "never overwritten" in errors
    assert (tmp_path / "grace").read_bytes() == before
    assert (tmp_path / "grace").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_does_not_sign(centre: Centre, tmp_path: Path) -> None:
    grace = make_second(centre, tmp_path)
    draft = tmp_path / "again.draft"
    told("policy", "root", "renew", "--out", draft, *centre.who)
    (tmp_path / "grace").chmod(0o644)
    before = draft.read_bytes()

    code, _, errors = run("policy", "sign", draft, *grace[:2])
    assert code == 1
    assert "chmod 600" in errors
    assert draft.read_bytes() == before


# ---- a key on a token


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    """Return the environment of somebody whose P-256 key lies on a token named grace, under id 2."""
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    environment = {**os.environ, "SOFTHSM2_CONF": str(configuration), "PYKCS11LIB": "/usr/lib/softhsm/libsofthsm2.so"}
    pem = tmp_path / "to-import.pem"
    pem.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    pins = ("--pin", PIN)
    for act in (
        ("--init-token", "--free", "--label", "grace", "--so-pin", "12345678", *pins),
        ("--import", pem, "--token", "grace", "--label", "policy", "--id", "02", *pins),
    ):
        subprocess.run(["softhsm2-util", *act], env=environment, check=True, capture_output=True)
    pem.unlink()
    return environment


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = os.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def at_a_terminal(environment: dict[str, str], pin: str, *arguments: str | Path) -> tuple[int, str, str]:
    """Run a command whose terminal is ours, type the PIN when asked for it; return code, output, what was shown."""
    program = ["setsid", "--ctty", "--wait", sys.executable, "-m", "control_plane", *map(str, arguments)]
    with terminal() as (ours, theirs):
        process = subprocess.Popen(
            program, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        os.close(theirs)
        shown = b""
        while not shown.endswith(b": "):
            try:
                piece = os.read(ours, 1024)
            except OSError:  # how Linux says that the other end of a terminal is closed
                break
            shown += piece
        else:
            os.write(ours, f"{pin}\n".encode())
        out, _ = process.communicate(timeout=180)
    return process.returncode, out, shown.decode()


def test_a_key_on_a_token_signs_and_never_leaves_it(
    centre: Centre, policy: Path, token: dict[str, str], tmp_path: Path
) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "control_plane", "policy", "key", "on-token", tmp_path / "grace", "--token", "grace",
         "--name", "Grace"],
        env=token, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert not (tmp_path / "grace").exists()
    credential, draft = tmp_path / "credential-Grace.json", tmp_path / "root.draft"
    public = tmp_path / "grace.pub"
    told("person", "add", "--key", public, "--role", "administrator", "--out", credential, *centre.who)
    told("policy", "root", "propose", "--add", public, "--threshold", "2", "--out", draft, *centre.who)
    code, out, shown = at_a_terminal(token, PIN, "policy", "sign", draft, "--as", credential, *compared(centre))
    assert (code, shown) == (0, "PIN of token grace: ")
    told("policy", "publish", draft, *centre.who)
    draft = tmp_path / "policy.draft"
    told("policy", "propose", policy, "--out", draft, *centre.who)
    at_a_terminal(token, PIN, "policy", "sign", draft, "--as", credential)

    assert told("policy", "publish", draft, *centre.who) == {"version": 1}
    for text in (made.stdout, made.stderr, out, credential.read_text(), public.read_text(), draft.read_text()):
        assert PIN not in text
        assert "PRIVATE" not in text


def test_a_wrong_pin_signs_nothing_and_is_named(centre: Centre, token: dict[str, str], tmp_path: Path) -> None:
    arguments = ("policy", "key", "on-token", tmp_path / "grace", "--token", "grace", "--name", "Grace")
    subprocess.run([sys.executable, "-m", "control_plane", *arguments], env=token, check=True, capture_output=True)
    draft = tmp_path / "root.draft"
    told("policy", "root", "propose", "--add", tmp_path / "grace.pub", "--out", draft, *centre.who)
    before, root = draft.read_bytes(), compared(centre)

    code, out, _ = at_a_terminal(token, "0000", "policy", "sign", draft, "--key", tmp_path / "grace.pub", *root)
    assert code == 1
    assert "does not take this PIN" in out
    assert "0000" not in out
    assert draft.read_bytes() == before
    code, out, _ = at_a_terminal(token, PIN, "policy", "sign", draft, "--key", tmp_path / "grace.pub", *root)
    assert code == 0
    assert draft.read_bytes() != before


def test_a_token_that_is_not_there_is_named(token: dict[str, str], tmp_path: Path) -> None:
    arguments = ("policy", "key", "on-token", tmp_path / "grace", "--token", "nobody", "--name", "Grace")
    without = {name: value for name, value in token.items() if name != "PYKCS11LIB"}
    for environment, what in ((token, "No PKCS#11 token found for label nobody"), (without, "PYKCS11LIB")):
        process = subprocess.run(
            [sys.executable, "-m", "control_plane", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 3
        assert what in process.stderr
        assert "Traceback" not in process.stderr
