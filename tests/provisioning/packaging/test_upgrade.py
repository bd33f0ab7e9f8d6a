"""A new version over a running one, with real agents, a real dpkg and a modality that does not stop sending."""

import threading
from itertools import count, takewhile

from edge_agent.config import AgentFolder
from edge_agent.health.local import read_status
from shared.audit.events import Event
from tests.fakes.ports import free_port
from tests.faults.evidence import records, verify_all
from tests.faults.modality import Modality, image, images
from tests.faults.vault import Vault
from tests.provisioning.packaging.conftest import NEXT, Packages
from tests.provisioning.packaging.machine import AGENT, Machine


class Storm:
    """A modality that sends over two associations, and again what nobody answered, until it is told to end."""

    def __init__(self, port: int) -> None:
        self._port, self._over = port, False
        numbers = takewhile(lambda _: not self._over, count(1))
        self.modality = Modality(image(number, 20_000) for number in numbers)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._over:
            self.modality.send(self._port, 2)
            threading.Event().wait(0.02)  # while the port is closed

    def acknowledged(self) -> int:
        return len(self.modality.acknowledged)

    def end(self, bench: Machine) -> None:
        self._over = True
        bench.done("systemctl", "restart", AGENT)  # the associations end, and no new one begins
        self._thread.join(60)
        assert not self._thread.is_alive()


def settle(bench: Machine, folder: AgentFolder, modality: Modality, port: int) -> None:
    again = Modality(iter(modality.unacknowledged()))

    def is_all_taken() -> bool:
        again.send(port)
        return not again.unacknowledged()

    bench.until(is_all_taken)
    modality.acknowledged.update(again.acknowledged)

    def is_idle() -> bool:
        status = read_status(folder)
        return (status.coming_in, status.waiting, status.audit_waiting) == (0, 0, 0)

    bench.until(is_idle)


def started(centre: Vault) -> list[str]:
    """Return the software of each start of the agent, in the order in which it recorded them."""
    return [record.who[1].name for record in records(centre) if record.event is Event.AGENT_STARTED]


def test_an_upgrade_in_a_storm_loses_nothing_and_no_process_meets_two_versions(
    bench: Machine, packages: Packages, centre: Vault, enrolled: AgentFolder
) -> None:
    port = free_port()
    assert bench.install(packages.this).returncode == 0
    bench.agent_listens(port)
    storm = Storm(port)
    bench.until(lambda: storm.acknowledged() > 5)
    before = storm.acknowledged()

    upgraded = bench.install(packages.next)
    bench.until(lambda: storm.acknowledged() > before + 5)
    storm.end(bench)
    settle(bench, enrolled, storm.modality, port)

    assert upgraded.returncode == 0, upgraded.stderr
    verify_all(centre, enrolled.path, storm.modality)
    # The first, that from the copy, the new one, and the one that ended the storm.
    assert started(centre) == ["leadglass-agent 0.1.0"] * 2 + [f"leadglass-agent {NEXT}"] * 2
    assert bench.runs_from() == "/opt/leadglass"
    assert not bench.sees("/opt/leadglass/before").exists()
    assert bench.done("dpkg", "--verify", "leadglass-agent") == ""


def send(modality: Modality, port: int) -> None:
    modality.send(port)
    assert not modality.unacknowledged()


def test_dpkg_killed_anywhere_leaves_a_version_that_captures_and_the_next_run_ends_it(
    bench: Machine, packages: Packages, centre: Vault, enrolled: AgentFolder
) -> None:
    port, site = free_port(), "/opt/leadglass/lib/python3.11/site-packages"
    bench.install(packages.this)
    bench.agent_listens(port)

    bench.kill_dpkg_once(packages.next, lambda: any(bench.sees(f"{site}/pydicom").glob("*.dpkg-new")))
    assert bench.runs_from() == "/opt/leadglass/before"
    # Had it been killed a second later: some files are of the new version, and the machine starts anew.
    package = bench.lend(packages.next)
    unpack = "dpkg-deb --fsys-tarfile $1 | tar -x -C / --wildcards '*/edge_agent/agent.py' '*/edge_agent/*/agent.*.pyc'"
    bench.done("sh", "-c", unpack, "sh", package)
    bench.done("systemctl", "restart", AGENT)
    send(Modality(images(3)), port)
    bench.done("mv", "/opt/leadglass/before", "/opt/leadglass/away")
    control = bench.run("systemctl", "restart", AGENT)
    assert control.returncode == 1, "files of two versions run: this test shows nothing"
    bench.done("mv", "/opt/leadglass/away", "/opt/leadglass/before")
    bench.done("systemctl", "restart", AGENT)

    bench.kill_dpkg_once(packages.next, bench.sees("/opt/leadglass/before.tried").exists)
    bench.done("dpkg", "--configure", "-a")
    assert bench.runs_from() == "/opt/leadglass"
    send(Modality(images(3, first=4)), port)
    modality = Modality(images(6))
    modality.send(port)
    settle(bench, enrolled, modality, port)
    verify_all(centre, enrolled.path, modality)
    assert started(centre)[-1] == f"leadglass-agent {NEXT}"
    assert bench.done("dpkg", "--verify", "leadglass-agent") == ""


def test_where_the_new_version_does_not_come_up_the_one_before_goes_on(
    bench: Machine, packages: Packages, enrolled: AgentFolder
) -> None:
    bench.install(packages.this)
    bench.agent_listens(free_port(), first="[ -d /opt/leadglass/before ] || [ ! -e /etc/fails ] || exit 1")
    bench.run("leadglass-provision", "install")  # places the units; the timers are none of the stand-in's
    bench.done("touch", "/etc/fails")
    unit = bench.sees("/etc/systemd/system/leadglass-agent.service")
    of_before = unit.read_text()

    failed = bench.install(packages.next)
    went_on = bench.runs_from()
    assert unit.read_text() == of_before
    bench.done("rm", "/etc/fails")
    bench.done("dpkg", "--configure", "-a")

    assert failed.returncode != 0
    assert f"version {NEXT} did not come up" in failed.stderr
    assert went_on == "/opt/leadglass/before"
    assert bench.runs_from() == "/opt/leadglass"
    assert f"Description=Leadglass agent {NEXT}" in unit.read_text()


def test_what_a_person_stopped_is_not_started_and_what_was_never_there_neither(
    bench: Machine, packages: Packages, enrolled: AgentFolder
) -> None:
    bench.install(packages.this)
    assert not [asked for asked in bench.asked_of_systemd() if not asked.startswith("is-active")]
    bench.agent_listens(free_port())
    bench.done("systemctl", "stop", AGENT)

    assert bench.install(packages.next).returncode == 0
    assert bench.run("systemctl", "is-active", AGENT).stdout == "inactive\n"
    # One that fails anyway holds no package up: that may be what mends it.
    bench.has_unit(AGENT, "exit 1")
    assert bench.run("systemctl", "start", AGENT).returncode == 1
    assert bench.install(packages.this).returncode == 0


def test_an_older_version_is_refused_before_it_is_unpacked_where_it_cannot_read_what_lies_there(
    bench: Machine, packages: Packages
) -> None:
    bench.install(packages.next)
    claim = "import pathlib, edge_agent.state_formats as s; s.claim(pathlib.Path('/var/lib/leadglass'))"
    bench.done("/opt/leadglass/bin/python", "-I", "-c", claim)
    written = (bench.state / "formats").read_text()

    older = bench.install(packages.this)

    assert older.returncode != 0
    assert "spool has version 2, written by leadglass-agent 0.2.0, and leadglass-agent 0.1.0 reads 1" in older.stderr
    asked = ("dpkg-query", "-W", "-f=${Version} ${db:Status-Abbrev}", "leadglass-agent")
    assert bench.done(*asked) == f"{NEXT} ii "
    assert bench.done("dpkg", "--verify", "leadglass-agent") == ""
    for unreadable in ("spool two x", "spool 2147483648000", "../etc 1", "\n"):
        (bench.state / "formats").write_text(f"{unreadable}\n")
        assert bench.install(packages.this).returncode != 0, unreadable

    # The control: it is what was written that refuses it. Then removal, which keeps what lies there.
    (bench.state / "formats").write_text(written.replace("spool 2", "spool 1"))
    assert bench.install(packages.this).returncode == 0
    assert "/var/lib/leadglass stays" in bench.run("dpkg", "--purge", "leadglass-agent").stderr
    assert (bench.state / "formats").exists()
    assert not bench.sees("/opt/leadglass").exists()
