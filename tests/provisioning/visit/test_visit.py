"""What a visit does next, what it keeps, and what it makes of what a step says."""

import os
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.console.choose import AskWhich
from edge_agent.enrol.enroller import CodeRefused, EnrolmentRefused
from edge_agent.enrol.judge import StrangeCentre
from edge_agent.enrol.store import IdentityNotStored
from edge_agent.host_keys.vault import KeyVaultUnavailable
from edge_agent.https import DoorUnavailable
from provisioning.__main__ import main
from provisioning.finding import Finding, Verdict
from provisioning.site import Site
from provisioning.visit.answers import fix
from provisioning.visit.conductor import Conductor, is_whole, unproved
from provisioning.visit.plan import StepTooEarly, StepUnknown, plan
from provisioning.visit.programs import NoSuchAccount, NotRoot, Programs
from provisioning.visit.record import State, VisitRecord
from provisioning.visit.step import Context, Places, Step
from provisioning.visit.store import VisitStore, VisitUnreadable
from shared.clock import SystemClock
from shared.enrolment.code import CodeUnreadable
from shared.errors import Malformed, Unavailable

NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
NAMES = ("preflight", "enrol", "self-test")
NEW = VisitRecord(Site("https://centre:8441", "CT 2"), NOW)
GOOD, BAD, UNSEEN = (Finding("looked", verdict, "so it is", "mend it") for verdict in Verdict)


def after(*states: State) -> VisitRecord:
    record = NEW
    for name, state in zip(NAMES, states, strict=False):
        record = record.begun(name, NOW)
        if state is not State.BEGUN:
            record = record.ended(name, [GOOD], NOW, is_broken=state is State.BROKEN)
    return record


@pytest.mark.parametrize(
    "record, expected",
    [
        (NEW, NAMES),
        (after(State.BEGUN), NAMES),
        (after(State.DONE, State.BROKEN), NAMES[1:]),
        (after(State.DONE, State.DONE), NAMES[2:]),
        (after(State.DONE, State.DONE, State.DONE), ()),
        # A step that is repeated and breaks is where it goes on, whatever was done after it before.
        (after(State.DONE, State.DONE, State.DONE).begun("enrol", NOW), NAMES[1:]),
    ],
)
def test_it_goes_on_with_the_first_step_that_is_not_done(record: VisitRecord, expected: Sequence[str]) -> None:
    assert plan(NAMES, record) == tuple(expected)


def test_any_step_is_repeated_when_asked_for_and_none_is_passed_over() -> None:
    record = after(State.DONE, State.DONE)

    assert plan(NAMES, record, first="preflight") == NAMES
    assert plan(NAMES, record, only="preflight") == ("preflight",)
    assert plan(NAMES, NEW, only="self-test") == ("self-test",)
    with pytest.raises(StepTooEarly, match="self-test comes after preflight"):
        plan(NAMES, NEW, first="self-test")
    with pytest.raises(StepUnknown, match="preflight, enrol, self-test"):
        plan(NAMES, NEW, only="lunch")


@given(st.lists(st.sampled_from(list(State)), max_size=3), st.sampled_from([(GOOD,), (BAD, UNSEEN), ()]))
def test_a_record_is_read_as_it_was_written(states: list[State], findings: tuple[Finding, ...]) -> None:
    record = after(*states).begun("pin-console", NOW).ended("pin-console", findings, NOW, is_broken=True)

    assert VisitRecord.parse(record.encode()) == record


@given(st.binary(max_size=200), st.integers(0, 400))
def test_bytes_that_are_no_record_are_malformed_and_nothing_else(noise: bytes, at: int) -> None:
    data = after(State.DONE, State.BROKEN).encode()
    for other in (noise, data[:at], data[:at] + noise + data[at + 1 :]):
        try:
            assert VisitRecord.parse(other).encode() == other
        except Malformed:
            continue


# ---- doing steps


class Saying:
    """A step that says what it was told to, or raises it."""

    def __init__(self, name: str, *says: Finding | Exception, advised: Collection[str] = ()) -> None:
        self.name, self.advised, self._says = name, advised, says

    def run(self, context: Context) -> Sequence[Finding]:
        for one in self._says:
            if isinstance(one, Exception):
                raise one
        return [one for one in self._says if isinstance(one, Finding)]


def conducted(folder: Path, *steps: Step) -> tuple[VisitRecord, list[str]]:
    said: list[str] = []
    context = Context(NEW.site, Places(folder), Programs("root", 0), SystemClock(), lambda _question: "")
    folder.mkdir(exist_ok=True)
    return Conductor(VisitStore(folder), context, said.append).conduct(steps, NEW), said


@pytest.mark.parametrize(
    "says",
    [(GOOD, BAD), (), (Unavailable("the centre is away"),), (PermissionError(13, "Permission denied", "/etc/x"),)],
)
def test_it_breaks_off_at_a_step_that_failed_or_said_nothing_and_says_what_to_do(
    tmp_path: Path, says: Sequence[Finding | Exception]
) -> None:
    record, said = conducted(tmp_path, Saying("preflight", GOOD), Saying("enrol", *says), Saying("self-test", GOOD))

    assert VisitStore(tmp_path).load() == record
    assert [record.state(name) for name in NAMES] == [State.DONE, State.BROKEN, None]
    assert any("do: " in line for line in said)


def test_what_is_advised_keeps_nobody_and_what_was_not_evaluated_is_no_pass(tmp_path: Path) -> None:
    advised, doubtful = Saying("preflight", BAD, advised=["looked"]), Saying("enrol", UNSEEN)
    record, said = conducted(tmp_path, advised, doubtful, Saying("self-test", GOOD))

    told = [line.split()[:2] for line in said if not line.startswith(" ")]
    assert told == [["preflight", "open"], ["enrol", "open"], ["self-test", "ok"]]
    assert is_whole([advised, doubtful], record)
    assert unproved([advised, doubtful], record) == [UNSEEN]


def test_a_damaged_record_is_named_and_put_aside_only_when_asked(tmp_path: Path) -> None:
    store = VisitStore(tmp_path)
    store.store(after(State.DONE))
    store.file.write_bytes(store.file.read_bytes().replace(b'"done"', b'"well"'))

    with pytest.raises(VisitUnreadable, match="--new"):
        store.load()
    assert store.put_aside() == tmp_path / "visit-1.json"
    assert store.load() is None
    assert store.put_aside() is None


def test_after_an_uninstallation_the_old_record_is_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = VisitStore(Places(tmp_path).own)
    store.file.parent.mkdir(parents=True)
    store.store(NEW.begun("install", NOW).ended("install", [GOOD], NOW, is_broken=False))

    assert main(["visit", "--root", str(tmp_path)]) == 1
    assert "taken away since; --new" in capsys.readouterr().err
    assert main(["visit", "--root", str(tmp_path), "--new"]) == 2
    assert "--url" in capsys.readouterr().err
    assert store.load() is not None


@pytest.mark.parametrize("given_the_lock", [True, False])
def test_what_a_killed_visit_started_is_waited_for_through_the_lock_that_it_holds(
    tmp_path: Path, given_the_lock: bool
) -> None:
    waited = []
    with VisitStore(tmp_path).alone(lambda: None) as lock:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,) if given_the_lock else ())

    def let_it_end() -> None:
        waited.append(child.poll())
        child.communicate()

    with VisitStore(tmp_path).alone(let_it_end):
        assert waited == ([None] if given_the_lock else [])
    child.communicate()


# ---- the programs, and what they say


def test_the_agent_is_run_as_its_own_account_and_given_nothing_of_ours() -> None:
    with tempfile.TemporaryDirectory(prefix="leadglass-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        script = folder / "leadglass-agent"
        script.write_text('#!/bin/sh\nread code; echo "$(id -un) $code $SECRET $*"; echo "x: why" >&2; exit 3\n')
        script.chmod(0o755)
        (folder / "lock").touch()
        lock = os.open(folder / "lock", os.O_RDONLY)
        os.environ["SECRET"] = "ours"
        try:
            programs = Programs("nobody", lock, folder)
            if os.geteuid() == 0:
                ended = programs.agent("enrol", text_in="the code\n")
                assert (ended.exit_code, ended.message) == (3, "why")
                assert ended.out == "nobody the code  enrol\n"
            else:
                with pytest.raises(NotRoot, match="sudo"):
                    programs.agent("enrol")
        finally:
            del os.environ["SECRET"]
            os.close(lock)
    with pytest.raises(NoSuchAccount, match="install"):
        Programs("no-such-account", 0).agent("enrol")


@pytest.mark.parametrize(
    "said, do",
    [
        (CodeUnreadable("a character was mistyped"), "the code is still good"),
        (StrangeCentre(found=bytes(32), expected=bytes(32)), "stop"),
        (CodeRefused(), "ask for another code"),
        (EnrolmentRefused("this code was issued for another asset"), "--asset"),
        (EnrolmentRefused("this asset is that of host-1, which was revoked"), "two of them"),
        (DoorUnavailable("https://centre:8441", "too many attempts; try again in 60 s"), "wait"),
        (DoorUnavailable("https://centre:8441", "ConnectionRefusedError"), "firewall"),
        (IdentityNotStored(Path("/var/lib/leadglass/identity"), "No space left on device"), "ask for another"),
        (KeyVaultUnavailable("there is no TPM 2.0 at /dev/tpmrm0"), "--keys file"),
        (AskWhich(["1-2", "1-3"]), "--console-port"),
        (NoSuchAccount("leadglass"), "--from install"),
    ],
)
def test_each_answer_of_the_programs_has_its_own_thing_to_do(said: Exception, do: str) -> None:
    assert do in fix(str(said))
    assert fix(str(said)) != fix("something that nobody knows")
