"""Whatever lies on a host: installing twice is installing once, cut off it goes on, and uninstalling undoes it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from provisioning.install.item import Kind, Part, Rights, There, Wanted, digest_of
from provisioning.install.noted import Installed
from provisioning.install.plan import (
    RELOAD_SYSTEMD,
    RELOAD_UDEV,
    UPDATE_GRUB,
    Change,
    Plan,
    plan_install,
    plan_removal,
)
from tests.provisioning.install.model import ModelHost, as_there, file_of, noted_paths

FOLDER = There(Kind.FOLDER, digest_of(Kind.FOLDER, b""), Rights(0o755))
AGENT, GUARD = Part.AGENT, Part.GUARD
WANTED = (
    Wanted("/etc/leadglass", AGENT, Kind.FOLDER, rights=Rights(0o755)),
    Wanted("/etc/leadglass/agent.toml", AGENT, content=b"version = 1\n", theirs=True),
    Wanted("/etc/systemd/system/leadglass-agent.service", AGENT, content=b"[Service]\n"),
    Wanted("/etc/systemd/system/multi-user.target.wants/leadglass-agent.service", AGENT, Kind.LINK, b"../there"),
    Wanted("/etc/udev/rules.d/58-leadglass.rules", GUARD, content=b"ACTION\n"),
    Wanted("/var/lib/leadglass", AGENT, Kind.FOLDER, rights=Rights(0o700, "leadglass", "leadglass")),
)
NEWER = tuple(replace(item, content=item.content + b"new") if item.kind is Kind.FILE else item for item in WANTED)
PARTS = {AGENT, GUARD}


@st.composite
def hosts(draw: st.DrawFn) -> ModelHost:
    """A host with some of the folders, and at each path nothing, what we want there, or something else."""
    files = dict.fromkeys(("/etc", "/var", "/var/lib"), FOLDER)
    for path in ("/etc/systemd", "/etc/systemd/system", "/etc/udev"):
        if path.rpartition("/")[0] in files and draw(st.booleans()):
            files[path] = FOLDER
    for item in WANTED:
        parent = item.path.rpartition("/")[0]
        what = draw(st.sampled_from(["nothing", "ours", "other"])) if parent in files else "nothing"
        if what == "ours":
            files[item.path] = as_there(item)
        elif what == "other" and item.kind is not Kind.FOLDER:
            files[item.path] = file_of(b"of somebody else", item)
    return ModelHost(files)


def planned(host: ModelHost, wanted: tuple[Wanted, ...] = WANTED, *, replacing: bool = True) -> Plan:
    return plan_install(wanted, PARTS, host.there(wanted), host.noted, replacing=replacing)


def removal(host: ModelHost) -> Plan:
    return plan_removal(host.noted, host.there(()))


def is_installed(host: ModelHost, wanted: tuple[Wanted, ...] = WANTED) -> bool:
    return all(host.files[item.path].digest == item.digest or item.theirs for item in wanted)


@given(hosts())
def test_installing_twice_is_installing_once(host: ModelHost) -> None:
    host.do(planned(host))

    assert is_installed(host)
    assert planned(host).is_nothing
    assert planned(host, replacing=False).is_nothing


@given(hosts())
def test_uninstalling_leaves_what_was_there_before(host: ModelHost) -> None:
    before = dict(host.files)
    host.do(planned(host))
    host.do(removal(host))

    assert host.files == before
    assert host.noted == Installed()


@given(hosts(), st.integers(0, 30))
def test_what_was_cut_off_is_completed_or_taken_back(host: ModelHost, most: int) -> None:
    before = dict(host.files)
    host.do(planned(host), most)
    completed = ModelHost(dict(host.files), dict(host.copies), host.noted)
    completed.do(planned(completed))
    host.do(removal(host))

    assert is_installed(completed)
    assert planned(completed).is_nothing
    assert host.files == before
    completed.do(removal(completed))
    assert completed.files == before


@given(hosts(), st.integers(0, 30), st.integers(0, 30))
def test_an_upgrade_that_is_cut_off_is_still_ours_and_so_is_a_removal(host: ModelHost, first: int, then: int) -> None:
    before = dict(host.files)
    host.do(planned(host))
    written = noted_paths(host.noted.entries)
    host.do(planned(host, NEWER), first)
    assert not written & {step.path for step in planned(host, NEWER, replacing=False).conflicts}

    host.do(planned(host, NEWER))
    assert is_installed(host, NEWER)
    host.do(removal(host), then)
    host.do(removal(host))
    assert host.files == before


@given(hosts())
def test_what_is_not_ours_is_named_and_not_touched(host: ModelHost) -> None:
    plan = planned(host, replacing=False)

    others = {item.path for item in WANTED if host.files.get(item.path, as_there(item)).digest != item.digest}
    others -= {item.path for item in WANTED if item.theirs}
    assert {step.path for step in plan.conflicts} == others
    assert not others & {step.path for step in plan.steps}


def test_a_file_that_somebody_changed_is_not_overwritten_and_uninstalling_leaves_it() -> None:
    host = ModelHost({"/etc": FOLDER, "/var": FOLDER, "/var/lib": FOLDER})
    host.do(planned(host))
    changed = WANTED[2]
    host.files[changed.path] = file_of(b"changed by hand", changed)

    plan = planned(host, NEWER, replacing=False)
    assert [(step.path, step.why) for step in plan.conflicts] == [(changed.path, "somebody changed it")]
    left = removal(host).left
    assert [step.path for step in left] == [changed.path]
    erased = plan_removal(host.noted, host.there(()), erase_changed=True)
    assert not erased.left
    # Replacing keeps a copy.
    (step,) = [step for step in planned(host, NEWER).steps if step.path == changed.path]
    assert step.kept == host.files[changed.path]


def test_settings_are_written_once_and_then_people_s_own() -> None:
    host = ModelHost({"/etc": FOLDER, "/var": FOLDER, "/var/lib": FOLDER})
    host.do(planned(host))
    settings = WANTED[1]
    host.files[settings.path] = file_of(b"version = 1\n# mine\n", settings)

    assert planned(host, replacing=False).is_nothing
    assert [step.path for step in removal(host).left] == [settings.path]


def test_rights_that_somebody_widened_are_put_right() -> None:
    host = ModelHost({"/etc": FOLDER, "/var": FOLDER, "/var/lib": FOLDER})
    host.do(planned(host))
    host.files["/var/lib/leadglass"] = replace(host.files["/var/lib/leadglass"], rights=Rights(0o755))
    (step,) = planned(host).steps

    assert (step.change, step.path) == (Change.RIGHTS, "/var/lib/leadglass")
    host.do(planned(host))
    assert host.files["/var/lib/leadglass"].rights == Rights(0o700, "leadglass", "leadglass")


def test_what_an_upgrade_no_longer_has_is_removed_and_other_parts_are_left_alone() -> None:
    host = ModelHost({"/etc": FOLDER, "/var": FOLDER, "/var/lib": FOLDER})
    host.do(planned(host))
    agent_alone = tuple(item for item in WANTED if item.part is AGENT and item.kind is not Kind.LINK)

    plan = plan_install(agent_alone, {AGENT}, host.there(agent_alone), host.noted)
    assert {step.path for step in plan.steps} == {WANTED[3].path, "/etc/systemd/system/multi-user.target.wants"}
    host.do(plan)
    assert WANTED[4].path in host.files


def test_what_changed_is_taken_up_and_what_was_not_taken_up_is_not_forgotten() -> None:
    host = ModelHost({"/etc": FOLDER, "/var": FOLDER, "/var/lib": FOLDER})
    plan = planned(host)
    assert plan.actions == (RELOAD_SYSTEMD, RELOAD_UDEV, "restart leadglass-agent.service")

    # Every file is written, and then somebody cuts it off.
    host.do(plan, len(plan.steps))
    again = planned(host)
    assert not again.steps
    assert again.actions == plan.actions
    host.do(again)
    assert planned(host).is_nothing


def test_grub_is_told_after_its_file_has_gone_too() -> None:
    cfg = Wanted("/etc/default/grub.d/leadglass.cfg", Part.DENIAL, content=b"x")
    host = ModelHost({"/etc": FOLDER})
    host.do(plan_install([cfg], {Part.DENIAL}, host.there([cfg]), host.noted))

    assert removal(host).actions == (UPDATE_GRUB,)


@given(hosts())
def test_what_is_noted_reads_back_as_it_was_written(host: ModelHost) -> None:
    plan = planned(host)

    assert Installed.parse(plan.before.encode()) == plan.before
    assert Installed.parse(plan.after.encode()) == plan.after
