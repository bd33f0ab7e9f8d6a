"""Commands at the centre: it takes what people signed, shows what hosts signed, and calls nothing done by itself."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.db.models import CommandRow, Host
from control_plane.enrolment.codes import parts_of
from control_plane.fleet.commands import (
    CommandExists,
    CommandNotInTime,
    CommandOfAnotherPerson,
    CommandUnknown,
    FleetCommands,
    LayerNotPublished,
    ResultHeld,
    ResultOfAnother,
    gaps,
)
from control_plane.fleet.states import HostUnknown
from shared.envelope import Signatories, SignerUnknown, TooFewSignatures
from shared.errors import IntegrityFailure, Refused
from shared.fleet.command import (
    ActionUnknown,
    Command,
    CommandResult,
    Outcome,
    SignedCommand,
    sign_command,
    sign_result,
)
from shared.identity import CommandId, HostId
from shared.signing import SoftwareSigner, WrongSigner
from tests.control_plane.fleet.reporting import HOST, Fleet

HOUR = timedelta(hours=1)
NORTH, CT = "site-north", "modality-ct"


def new_signer() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


ADA, BEA, STRANGER = new_signer(), new_signer(), new_signer()


class Desk:
    """The commands of one control plane, with two people of whom `threshold` have to sign."""

    def __init__(self, fleet: Fleet, threshold: int = 1) -> None:
        self.fleet, self.hinted = fleet, list[HostId]()
        names = {ADA.public.key_id: "ada", BEA.public.key_id: "bea"}
        people = Signatories((ADA.public, BEA.public), threshold, names)
        self.commands = FleetCommands(
            fleet.database, fleet.intake._journal, fleet.clock,
            signatories=lambda: people, layers=lambda: ("organisation", NORTH, CT), hint=self.hinted.append,
        )  # fmt: skip

    def drawn_up(self, action: str = "isolate", life: timedelta = HOUR, host: HostId = HOST) -> Command:
        now = self.fleet.clock.now()
        return Command(CommandId.new(), host, action, {}, now, now + life, "ada")

    def move_to(self, site: str, modality_type: str = "") -> Command:
        arguments = {"site": site, "modality_type": modality_type}
        return self.issue(dataclasses.replace(self.drawn_up("set-layers"), arguments=arguments))

    def parts(self) -> tuple[str, ...]:
        with self.fleet.database() as session:
            return parts_of(session.scalars(select(Host.parts)).one())

    def issue(self, command: Command | None = None, *signers: SoftwareSigner, by: str = "ada") -> Command:
        return self.commands.issue(by, sign_command(command or self.drawn_up(), signers or [ADA]).encode())

    def result(self, command: Command, outcome: Outcome = Outcome.DONE, **changes: Any) -> bytes:
        said = CommandResult(
            command.command_id, command.digest, command.host_id, outcome, "", self.fleet.clock.now(), {"serial": "0f"}
        )  # fmt: skip
        return sign_result(dataclasses.replace(said, **changes), self.fleet.signer)

    def answer(self, command: Command, outcome: Outcome = Outcome.DONE, **changes: Any) -> None:
        self.commands.take_result(HOST, command.command_id, self.result(command, outcome, **changes))

    def state(self, command: Command) -> str:
        (shown,) = self.commands.status(command_id=command.command_id)
        return str(shown["state"])

    def recorded(self) -> list[str]:
        records = self.fleet.answer("/api/v1/audit/records")["records"]
        return [record["event"] for record in records if "command" in record["event"]]


@pytest.fixture
def desk(fleet: Fleet) -> Desk:
    return Desk(fleet)


def test_a_command_waits_for_its_host_until_that_has_answered(desk: Desk) -> None:
    command = desk.issue()
    offered = desk.commands.waiting(HOST)
    desk.answer(command)

    assert [SignedCommand.parse(one).claimed for one in offered] == [command]
    assert desk.hinted == [HOST]
    assert (desk.state(command), desk.commands.waiting(HOST)) == ("done", ())
    assert desk.recorded() == ["fleet.command-answered", "fleet.command-issued"]


def test_without_a_result_a_command_is_unknown_when_it_has_expired_and_never_done(desk: Desk) -> None:
    command = desk.issue()
    before = desk.state(command)
    desk.fleet.clock.advance(HOUR)
    (gap,) = gaps(desk.commands.newest(), desk.fleet.clock.now())

    assert (before, desk.state(command)) == ("waiting", "unknown")
    assert desk.commands.waiting(HOST) == ()
    assert "CT 2: command isolate of ada: unknown" in gap


def test_a_result_that_comes_late_is_the_host_s_own_word(desk: Desk) -> None:
    command = desk.issue()
    desk.fleet.clock.advance(3 * HOUR)
    desk.answer(command)

    assert desk.state(command) == "done"


def test_a_host_that_does_not_know_says_unknown(desk: Desk) -> None:
    command = desk.issue()
    desk.answer(command, Outcome.UNKNOWN, detail="the agent ended while it was at it")

    assert desk.state(command) == "unknown"
    assert desk.commands.waiting(HOST) == ()


def test_a_result_that_is_sent_again_changes_nothing_and_another_one_is_refused(desk: Desk) -> None:
    command = desk.issue()
    failed = desk.result(command, Outcome.FAILED)
    for _ in range(2):
        desk.commands.take_result(HOST, command.command_id, failed)
    with pytest.raises(ResultHeld):
        desk.answer(command)

    assert desk.state(command) == "failed"
    assert desk.recorded().count("fleet.command-answered") == 1


def test_a_result_of_other_bytes_under_the_same_name_is_refused(desk: Desk) -> None:
    command = desk.issue()
    with pytest.raises(ResultOfAnother):
        desk.answer(command, command_sha256=bytes(32))

    assert desk.state(command) == "waiting"


def test_only_the_host_itself_answers(desk: Desk) -> None:
    command = desk.issue()
    forged = sign_result(
        CommandResult(command.command_id, command.digest, HOST, Outcome.DONE, "", desk.fleet.clock.now(), {}), STRANGER
    )
    with pytest.raises(WrongSigner):
        desk.commands.take_result(HOST, command.command_id, forged)
    with pytest.raises(CommandUnknown):
        desk.commands.take_result(HOST, CommandId(bytes(16)), forged)

    assert desk.state(command) == "waiting"


def test_who_writes_rows_makes_nothing_done(desk: Desk) -> None:
    command, other = desk.issue(), desk.issue()
    with desk.fleet.database.begin() as session:
        row = session.get(CommandRow, str(command.command_id))
        assert row is not None
        row.result = desk.result(other)

    assert desk.state(command) == "not authentic"


Refusal = tuple[type[Exception], Callable[[Desk], Command], tuple[SoftwareSigner, ...]]


@pytest.mark.parametrize(
    "error, drawn_up, signers",
    [
        (SignerUnknown, lambda desk: desk.drawn_up(), (STRANGER,)),
        (ActionUnknown, lambda desk: desk.drawn_up("wipe"), (ADA,)),
        (HostUnknown, lambda desk: desk.drawn_up(host=HostId(bytes(16))), (ADA,)),
    ],
)
def test_what_a_host_would_refuse_is_not_taken_and_that_is_recorded(
    desk: Desk, error: type[Refused | IntegrityFailure], drawn_up: Callable[[Desk], Command],
    signers: tuple[SoftwareSigner, ...],
) -> None:  # fmt: skip
    with pytest.raises(error):
        desk.issue(drawn_up(desk), *signers)

    assert (desk.commands.status(), desk.hinted) == ([], [])
    assert desk.recorded() == ["fleet.command-refused"]


def test_a_command_is_taken_only_in_its_time_and_once(desk: Desk) -> None:
    early, command = desk.drawn_up(), desk.drawn_up()
    desk.issue(command)
    with pytest.raises(CommandExists):
        desk.issue(command)
    desk.fleet.clock.advance(HOUR)
    with pytest.raises(CommandNotInTime):
        desk.issue(early)


def test_where_policy_asks_for_two_one_is_too_few(fleet: Fleet) -> None:
    desk = Desk(fleet, threshold=2)
    command = desk.drawn_up()
    with pytest.raises(TooFewSignatures):
        desk.issue(command)
    desk.issue(command, ADA, BEA, by="bea")

    assert desk.state(command) == "waiting"


def issued_record(desk: Desk) -> tuple[list[str], list[str]]:
    """Return who took part in the one command, and what it is said of, as the journal has it."""
    records = desk.fleet.answer("/api/v1/audit/records")["records"]
    (issued,) = (record for record in records if record["event"] == "fleet.command-issued")
    return [who["name"] for who in issued["who"]], [f"{what['kind']} {what['name']}" for what in issued["what"]]


def test_the_journal_names_who_signed_and_not_whom_the_command_names(desk: Desk) -> None:
    """Bea signs what says that it is Ada's, and Ada's account brings it."""
    desk.issue(None, BEA)
    who, what = issued_record(desk)

    assert who == ["ada", "bea"]
    assert f"key {BEA.public.key_id}" in what
    assert f"key {ADA.public.key_id}" not in what
    assert "fact claimed author: ada" in what


def test_the_journal_names_her_who_signed_what_is_hers(desk: Desk) -> None:
    desk.issue()
    who, what = issued_record(desk)

    assert set(who) == {"ada"}
    assert f"key {ADA.public.key_id}" in what


def test_nobody_sends_what_only_another_one_signed(desk: Desk) -> None:
    with pytest.raises(CommandOfAnotherPerson):
        desk.issue(by="bea")


def test_a_revoked_host_is_commanded_by_nobody_and_answers_nobody(desk: Desk) -> None:
    command = desk.issue()
    with desk.fleet.database.begin() as session:
        host = session.get(Host, str(HOST))
        assert host is not None
        host.standing = "revoked"
    with pytest.raises(HostUnknown):
        desk.issue()
    with pytest.raises(HostUnknown):
        desk.answer(command)


def test_a_person_reads_what_became_of_a_command_and_what_proves_it(desk: Desk) -> None:
    nothing = desk.fleet.command("commands")
    command = desk.issue()
    desk.answer(command, detail="a connection was answered")
    one, all_of_host = (
        desk.fleet.command("commands", "--command", str(command.command_id)),
        desk.fleet.command("commands", "--host", str(HOST)),
    )
    status = desk.fleet.command("status")

    line = f"{command.command_id} done: isolate on CT 2 ({HOST}), issued by ada at "
    assert nothing == (0, "no command was issued\n")
    assert line in one[1]
    assert "    serial               0f\n" in one[1]
    assert line in all_of_host[1]
    assert f"command    {line}" in status[1]
    assert "a connection was answered" in desk.fleet.get("/")[1]


# ---- moving


def test_a_host_has_other_layers_once_it_says_so_and_not_before(desk: Desk) -> None:
    command = desk.move_to("north", "ct")
    asked = desk.parts(), desk.commands.moves(), desk.fleet.answer()["hosts"][0]["moves_to"]
    printed = desk.fleet.command("status")[1]
    shown = desk.fleet.get("/")[1]
    desk.answer(command)

    assert asked == ((), {str(HOST): (NORTH, CT)}, [NORTH, CT])
    assert "asked to move to site-north and modality-ct" in printed
    assert "Asked to move to" in shown
    assert (desk.parts(), desk.commands.moves()) == ((NORTH, CT), {})
    assert "asked to move to" not in desk.fleet.command("status")[1]
    (moved,) = [
        record for record in desk.fleet.answer("/api/v1/audit/records")["records"]
        if record["event"] == "enrolment.host-moved"
    ]  # fmt: skip
    assert [what["name"] for what in moved["what"] if what["kind"] == "layer"] == [NORTH, CT]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.DONE])
def test_a_host_that_did_not_move_stays_where_it_is(desk: Desk, outcome: Outcome) -> None:
    desk.fleet.enrolled_with(CT)
    desk.answer(desk.move_to("north"), outcome)

    assert desk.parts() == (CT,)


def test_a_host_moves_by_its_own_word_alone(desk: Desk) -> None:
    command = desk.move_to("north")
    said = CommandResult(command.command_id, command.digest, HOST, Outcome.DONE, "", desk.fleet.clock.now(), {})
    with pytest.raises(WrongSigner):
        desk.commands.take_result(HOST, command.command_id, sign_result(said, STRANGER))

    assert desk.parts() == ()


def test_a_result_that_is_sent_again_takes_nobody_back(desk: Desk) -> None:
    first = desk.move_to("north")
    done = desk.result(first)
    desk.commands.take_result(HOST, first.command_id, done)
    desk.answer(desk.move_to("", "ct"))
    desk.commands.take_result(HOST, first.command_id, done)

    assert desk.parts() == (CT,)


def test_nobody_is_asked_to_move_to_a_layer_of_which_nothing_is_published(desk: Desk) -> None:
    with pytest.raises(LayerNotPublished):
        desk.move_to("nowhere")

    assert desk.commands.waiting(HOST) == ()
    desk.move_to("")  # the control: the organisation's alone needs none
    assert len(desk.commands.waiting(HOST)) == 1


def test_a_row_that_somebody_changed_says_nothing_of_a_move(desk: Desk) -> None:
    command = desk.move_to("north")
    with desk.fleet.database.begin() as session:
        row = session.get(CommandRow, str(command.command_id))
        assert row is not None
        row.envelope = b"{}"

    assert desk.commands.moves() == {}
