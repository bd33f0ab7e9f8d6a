"""People, proofs, tokens and sessions, as they are met at a terminal."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from shared.clock import SystemClock
from tests.control_plane.cli.running import Centre, command, opened, run, running

PASSWORD = "four plain words here"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    with opened(tmp_path / "centre") as centre:
        yield centre


def told(*arguments: str | Path, typed: str = "") -> str:
    code, out, errors = run(*arguments, typed=typed)
    assert code == 0, errors
    return out


def set_up_phone(who: tuple[str | Path, ...]) -> list[str]:
    """Return the recovery codes of whoever sets a password and an app with codes up."""
    told("person", "password", *who, typed=f"{PASSWORD}\n{PASSWORD}\n")
    process = command("person", "second-factor", "add", *who, typing=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{PASSWORD}\n")
    process.stdin.flush()
    process.stdout.readline()
    seed = parse_qs(urlsplit(process.stdout.readline().strip()).query)["secret"][0]
    out, errors = process.communicate(f"{pyotp.TOTP(seed).at(SystemClock().now())}\n", timeout=180)
    assert process.returncode == 0, errors
    return re.findall(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", out)


def test_a_person_sets_up_a_phone_and_is_told_ten_recovery_codes(centre: Centre) -> None:
    codes = set_up_phone(centre.who)
    shown = told("person", "show", *centre.who)

    assert len(set(codes)) == 10
    assert "first-administrator: administrator, password, 1 second factors" in shown
    assert "recovery codes left: 10" in shown
    assert "people.factor-added" in told("audit", "tail", *centre.who)


def test_once_an_administrator_has_a_phone_no_start_makes_a_link(tmp_path: Path) -> None:
    with running(tmp_path / "centre") as centre:
        assert json.loads(centre.ready.read_text())["sign_in_url"] is not None
        set_up_phone(centre.who)

    ready = tmp_path / "again.json"
    ports = ("--host-port", "0", "--enrol-port", "0", "--people-port", "0", "--no-broker")
    again = command("run", "--data", centre.data, *ports, "--ready-file", ready)
    assert again.stdout is not None
    first = again.stdout.readline()
    again.terminate()
    again.communicate(timeout=180)
    assert re.search(r"sign in at http://127\.0\.0\.1:\d+/sign-in\)$", first.strip())
    assert json.loads(ready.read_text())["sign_in_url"] is None


def test_a_role_is_changed_and_taken_over_with_the_token_that_is_handed_over(centre: Centre, tmp_path: Path) -> None:
    told("policy", "key", "new", tmp_path / "grace", "--name", "Grace")
    credential, handed_over = tmp_path / "credential-Grace.json", tmp_path / "grace.token"
    told("person", "add", "--key", tmp_path / "grace.pub", "--role", "technician", "--out", credential, *centre.who)
    url = centre.who[2:]
    told("person", "role", "Grace", "field-engineer", "--token-out", handed_over, *centre.who)
    refused = run("status", "--as", credential, *url)
    told("person", "renew", "--token-file", handed_over, "--as", credential, *url)

    assert (refused[0], "no valid sign-in" in refused[2]) == (1, True)
    assert "LG1-" in told("code", "--asset", "CT 2", "--as", credential, *url)
    code, _, errors = run("person", "list", "--as", credential, *url)
    assert (code, "does not hold person:list" in errors) == (1, True)
    assert "Grace: field-engineer" in told("person", "list", *centre.who)
    assert oct(handed_over.stat().st_mode & 0o777) == "0o600"
    assert run("status", "--as", replaced(credential, handed_over.read_text().strip()), *url)[0] == 1


def replaced(credential: Path, token: str) -> Path:
    """Return a credential with the token that was handed over, which was good once."""
    members = json.loads(credential.read_text()) | {"token": token}
    stolen = credential.with_name("stolen.json")
    stolen.touch(mode=0o600)
    stolen.write_text(json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    return stolen


def test_a_lost_token_is_got_again_by_password_and_recovery_code(centre: Centre, tmp_path: Path) -> None:
    code, another, *_ = set_up_phone(centre.who)
    credential = Path(centre.who[1])
    tokens = json.loads(told("token", "list", "--json", *centre.who))["tokens"]
    told("token", "end", tokens[0]["token"], *centre.who)
    assert run("status", *centre.who)[0] == 1

    # Nor does it take a token: a certificate for some hours does what the token did.
    certificate = tmp_path / "today.pem"
    made = told("person", "certificate", "--out", certificate, *centre.who, typed=f"{PASSWORD}\n{another}\n")
    told("status", *centre.who, "--signed-by", certificate)
    assert oct(certificate.stat().st_mode & 0o777) == "0o600"
    told("session", "end", *re.findall(r"session end ([0-9a-f]{16})", made), *centre.who, "--signed-by", certificate)
    refused, _, errors = run("status", *centre.who, "--signed-by", certificate)
    assert (refused, "no valid sign-in" in errors) == (1, True)

    told("person", "renew", *centre.who, typed=f"{PASSWORD}\n{code}\n")
    assert json.loads(told("status", "--json", *centre.who))["tokens_running_out"] == []
    assert oct(credential.stat().st_mode & 0o777) == "0o600"


def test_tokens_and_sessions_are_made_listed_and_ended(centre: Centre) -> None:
    made = told("token", "new", "--name", "monitoring", "--scope", "status:read", "--days", "30", *centre.who)
    listed = told("token", "list", *centre.who)
    token_id = re.findall(r"^([0-9a-f]{16})  first-administrator: monitoring, status:read", listed, re.MULTILINE)[0]

    assert made.startswith("lgp_")
    told("token", "end", token_id, *centre.who)
    assert "monitoring" not in told("token", "list", *centre.who)
    assert told("session", "list", *centre.who).strip() == "no session is open"
    assert "ended: 0 sessions" in told("session", "end", *centre.who)
    code, _, errors = run("token", "new", "--name", "x", "--scope", "account:own", *centre.who)
    assert (code, "no token can have account:own" in errors) == (1, True)


def test_an_identity_provider_is_set_and_people_are_bound_to_it(centre: Centre, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("of the client\n")
    issuer = "https://login.hospital.example"
    given = ("--issuer", issuer, "--client-id", "leadglass", "--client-secret-file", secret)
    assert "so ours is asked for in any case" in told("oidc", "set", *given, *centre.who)
    told("oidc", "bind", "first-administrator", "248289761001", *centre.who)

    shown = told("oidc", "show", *centre.who)
    assert f"provider   {issuer}" in shown
    assert f"first-administrator: subject 248289761001 of {issuer}" in shown
    told("oidc", "unbind", "first-administrator", "248289761001", *centre.who)
    told("oidc", "remove", *centre.who)
    assert told("oidc", "show", *centre.who).split() == ["provider", "none"]
    assert "of the client" not in told("audit", "tail", "--json", *centre.who)
    code, _, errors = run("oidc", "set", "--issuer", "http://login.example", "--client-id", "x", *centre.who)
    assert (code, "has to begin with https://" in errors) == (1, True)
