"""Commands at the doors: each host is shown its own, and people who may."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.__main__ import main
from control_plane.cli.commands import draw_up, lasts
from control_plane.db.models import CommandRow
from control_plane.people.decide import Permission, decide
from control_plane.policy.authoring import load_credential, new_credential, store_credential
from control_plane.policy.evidence import PersonSigner
from shared.clock import SystemClock
from shared.envelope import Signatories
from shared.errors import Malformed
from shared.fields import encode_base64
from shared.fleet.command import (
    CommandAction,
    CommandResult,
    Outcome,
    SignedCommand,
    parse_commands,
    sign_command,
    sign_result,
    verify_command,
)
from shared.identity import HostId
from shared.signing import SoftwareSigner
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import EnrolledHost, problem


def issue(door: Open, host: HostId) -> Answer:
    command = draw_up("ada", host, CommandAction.REJOIN, {}, lasts("1h"), SystemClock())
    signed = sign_command(command, [PersonSigner(door.credential.signer)])
    body = json.dumps({"signed": encode_base64(signed.encode())}).encode()
    return door.signed_in("POST", "/api/v1/commands", body)


def test_before_a_policy_nobody_commands_anybody(door: Open, tmp_path: Path) -> None:
    host = EnrolledHost(door, tmp_path)
    answer = issue(door, host.answer.host_id)

    assert (answer.status, problem(answer)["error"]) == (409, "NobodySigns")


def test_a_stranger_learns_of_no_command(door: Open) -> None:
    assert door.people("GET", "/api/v1/commands").status == 401
    assert door.people("POST", "/api/v1/commands", b"{}").status == 401


def test_a_host_is_shown_its_own_commands_and_answers_no_other(
    door: Open, tmp_path: Path, trusting: Callable[[], ssl.SSLContext]
) -> None:
    hosts = [EnrolledHost(door, tmp_path), EnrolledHost(door, tmp_path)]
    command = draw_up("ada", hosts[0].answer.host_id, CommandAction.REJOIN, {}, lasts("1h"), SystemClock())
    envelope = sign_command(command, [_signer()]).encode()
    with door.centre._database.begin() as session:
        session.add(
            CommandRow(
                command_id=str(command.command_id), host_id=str(command.host_id), action=command.action, person="ada",
                issued=command.issued, expires=command.expires, envelope=envelope, result=None, answered=None,
            )
        )  # fmt: skip

    shown, results = [], []
    for host in hosts:
        context = host.identify(trusting(), host.answer.tls_certificate, host.tls)
        shown.append(parse_commands(door.hosts(context, "GET", "/api/v1/commands").body))
        result = CommandResult(
            command.command_id, command.digest, host.answer.host_id, Outcome.DONE, "", command.issued, {}
        )  # fmt: skip
        signed = sign_result(result, SoftwareSigner(host.evidence))
        results.append(door.hosts(context, "POST", f"/api/v1/commands/{command.command_id}/result", signed).status)

    assert shown == [(envelope,), ()]
    assert results == [204, 409]


def test_who_may_command_is_decided_by_a_permission_of_its_own() -> None:
    assert decide("administrator", Permission.HOST_COMMAND).allowed
    assert not decide("auditor", Permission.HOST_COMMAND).allowed


@pytest.mark.parametrize("body", [{}, {"signed": "no base64"}, {"signed": ""}, {"signed": "AAAA", "more": 1}])
def test_what_is_no_command_is_bad_input(door: Open, body: dict[str, Any]) -> None:
    answer = door.signed_in("POST", "/api/v1/commands", json.dumps(body).encode())

    assert answer.status in (400, 422)


@pytest.mark.parametrize("text", ["", "0m", "1d", "60", "-1h", "1h30m", "999999h"])
def test_a_length_of_time_has_one_form(text: str) -> None:
    with pytest.raises(Malformed):
        lasts(text)


def test_a_command_of_more_than_a_day_is_not_signed() -> None:
    with pytest.raises(Malformed):
        draw_up("ada", HostId(bytes(16)), CommandAction.REJOIN, {}, lasts("25h"), SystemClock())


def test_what_is_written_for_the_next_signer_is_read_again() -> None:
    command = draw_up("ada", HostId(bytes(16)), CommandAction.DIAGNOSTICS, {"events": 5}, lasts("24h"), SystemClock())
    assert SignedCommand.parse(command_file := sign_command(command, [_signer()]).encode()).encode() == command_file


def credential(person: str, folder: Path) -> Path:
    made = new_credential(
        person=person, role="administrator", url="http://127.0.0.1:1", token="t", sealing_keys=(),
        receipt_key=_signer().public,
    )  # fmt: skip
    path = folder / f"{person}.json"
    store_credential(path, made)
    return path


def test_two_people_sign_one_command_each_on_their_own_machine(tmp_path: Path) -> None:
    ada, bea, host = credential("ada", tmp_path), credential("bea", tmp_path), str(HostId(bytes(16)))
    first, second = tmp_path / "first", tmp_path / "second"
    command = ("command", host, "isolate", "--lasts", "2h", "--out", str(first))

    unsure = main([*command, "--as", str(ada)])
    begun = main([*command, "--yes", "--as", str(ada)])
    blindly = main(["command-sign", str(first), "--out", str(second), "--as", str(bea)])
    signed = main(["command-sign", str(first), "--yes", "--out", str(second), "--as", str(bea)])
    again = main(["command-sign", str(second), "--yes", "--out", str(tmp_path / "third"), "--as", str(ada)])

    envelope = SignedCommand.parse(second.read_bytes())
    keys = tuple(PersonSigner(load_credential(path).signer).public for path in (ada, bea))
    assert (unsure, begun, blindly, signed, again) == (1, 0, 1, 0, 2)
    assert verify_command(envelope, Signatories(keys, 2)).person == "ada"


@pytest.mark.parametrize("given", ["events", "events=many", "events=101", "events=1.5", "quietly=true"])
def test_an_argument_that_no_host_would_take_is_not_signed(tmp_path: Path, given: str) -> None:
    ada, out = credential("ada", tmp_path), tmp_path / "out"
    told = main(["command", str(HostId(bytes(16))), "diagnostics", "--argument", given, "--out", str(out),
                 "--as", str(ada)])  # fmt: skip

    assert (told, out.exists()) == (2, False)


def _signer() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
