"""`leadglass-server authority` as people meet it: a terminal, a token, and files that are never overwritten."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.enrolment.chain import Trust, parse_chain, verify_authority
from tests.control_plane.cli.running import run
from tests.control_plane.cli.test_signing import PIN, at_a_terminal, token

__all__ = ["token"]

CREDENTIAL = "credential-first-administrator.json"
ROOT_KEY = "authority-root-key.pem"


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    folder = tmp_path / "centre"
    assert run("init", "--data", folder / "data", "--handover", folder / "handover")[0] == 0
    return folder


def at(folder: Path) -> tuple[str | Path, ...]:
    return "--data", folder / "data", "--as", folder / "handover" / CREDENTIAL


def test_a_root_whose_key_is_on_a_token_certifies_and_its_key_is_in_no_file(
    tmp_path: Path, token: dict[str, str]
) -> None:
    folder, request, signed = tmp_path / "centre", tmp_path / "request.pem", tmp_path / "signed.pem"
    made = at_a_terminal(
        token, PIN, "init", "--data", folder / "data", "--handover", folder / "handover", "--root-token", "grace"
    )
    assert run("authority", "request", "--out", request, *at(folder))[0] == 0
    done = at_a_terminal(token, PIN, "authority", "sign", request, "--token", "grace", "--out", signed, "--yes")
    shown = run("authority", "show", "--data", folder / "data", "--pem")[1]

    assert [(code, asked.splitlines()[-1]) for code, _, asked in (made, done)] == [(0, "PIN of token grace: ")] * 2
    verify_authority(parse_chain(signed.read_bytes(), "signed")[0], Trust(parse_chain(shown.encode(), "shown")[:1]))
    assert run("authority", "install", signed, *at(folder))[0] == 0
    assert not (folder / "handover" / ROOT_KEY).exists()
    for text in (made[1], done[1], signed.read_text(), request.read_text()):
        assert "PRIVATE" not in text
        assert PIN not in text


def test_a_wrong_pin_makes_no_centre(tmp_path: Path, token: dict[str, str]) -> None:
    folder = tmp_path / "centre"
    code, out, _ = at_a_terminal(
        token, "0000", "init", "--data", folder / "data", "--handover", folder / "handover", "--root-token", "grace"
    )

    assert (code, "does not take this PIN" in out) == (1, True)
    assert run("authority", "show", "--data", folder / "data")[0] == 1


@pytest.mark.parametrize("answer, code", [("no", 1), ("y", 1), ("yes", 0)])
def test_signing_asks_first(centre: Path, tmp_path: Path, answer: str, code: int) -> None:
    request, signed = tmp_path / "request.pem", tmp_path / "signed.pem"
    run("authority", "request", "--host", "vault.example", "--out", request, *at(centre))
    key = centre / "handover" / ROOT_KEY
    command = ("authority", "sign", str(request), "--key", str(key), "--out", str(signed))
    program = [sys.executable, "-m", "control_plane", *command]
    done = subprocess.run(program, input=f"{answer}\n", capture_output=True, text=True, check=False, timeout=180)

    assert (done.returncode, signed.exists()) == (code, answer == "yes")


def test_signing_shows_whose_key_it_certifies_for_which_names(centre: Path, tmp_path: Path) -> None:
    request, signed = tmp_path / "request.pem", tmp_path / "signed.pem"
    run("authority", "request", "--host", "vault.example", "--out", request, *at(centre))
    told = run(
        "authority", "sign", request, "--key", centre / "handover" / ROOT_KEY, "--out", signed, "--yes"
    )[1]  # fmt: skip

    assert "servers for localhost, vault.example, 127.0.0.0/8, ::1/128" in told
    assert (
        run("authority", "show", "--data", centre / "data")[1].splitlines()[0].split()[1:]
        == (told.splitlines()[0].split()[1:])
    )


def test_a_key_file_that_others_may_read_signs_nothing(centre: Path, tmp_path: Path) -> None:
    request, key = tmp_path / "request.pem", centre / "handover" / ROOT_KEY
    run("authority", "request", "--out", request, *at(centre))
    key.chmod(0o640)
    code, _, errors = run("authority", "sign", request, "--key", key, "--out", tmp_path / "signed.pem", "--yes")

    assert (code, "chmod 600" in errors) == (1, True)


def test_what_is_there_is_never_overwritten(centre: Path, tmp_path: Path) -> None:
    taken, request, key = tmp_path / "taken", tmp_path / "request.pem", centre / "handover" / ROOT_KEY
    taken.write_text("mine")
    run("authority", "request", "--out", request, *at(centre))
    run("authority", "show", "--data", centre / "data", "--pem")
    for command in (
        ("request", "--out", taken, *at(centre)),
        ("sign", request, "--key", key, "--out", taken, "--yes"),
        ("rotate-root", "--root", request, "--key", key, "--new-key", tmp_path / "new", "--out", taken, "--yes"),
    ):
        assert run("authority", *command)[0] == 2
    assert taken.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_somebody_without_an_account_asks_for_nothing(centre: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("init", "--data", other / "data", "--handover", other / "handover")
    stranger = ("--data", centre / "data", "--as", other / "handover" / CREDENTIAL)
    code, _, errors = run("authority", "request", "--out", tmp_path / "request.pem", *stranger)

    assert code == 1
    assert errors
    assert not (tmp_path / "request.pem").exists()
