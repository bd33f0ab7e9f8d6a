"""The units as units: installed by `leadglass-provision` on a machine that systemd runs, with all their hardening."""

import io
import json
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from provisioning.install.addresses import DROP_IN
from shared.clock import SystemClock
from shared.fleet.devices import Authorized
from tests.edge_agent.capture.images import Image as ImageFile
from tests.edge_agent.capture.images import load
from tests.edge_agent.capture.wire import associate_request, store
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.fakes.centre import Centre
from tests.fakes.log import MemoryLog
from tests.lab.guard import STATE, LabGuard, package
from tests.lab.guest import Done, quoted
from tests.lab.image import Image
from tests.lab.lab import INSIDE, Lab
from tests.lab.media import Media
from tests.lab.test_console import PINNED, STICK, keys_arrive
from tests.lab.tree import NOTHING
from tests.lab.wire import until
from tests.threads import in_thread

DATA, WIPES, AGENT = "/var/lib/leadglass", "/var/lib/leadglass-wipe", "leadglass-agent.service"
INSTALL = ("leadglass-provision", "install", "--guard", "--dicom-host", "0.0.0.0", "--modalities", "10.9.9.0/24")  # noqa: S104 (in the guest)
ONCE = ("leadglass-spool-verify.service", "leadglass-addresses.service")
# As the unit, but for a test's patience.
SOONER = b"[Service]\nWatchdogSec=12\n"
OPEN_TO_ALL = b"[Service]\nIPAddressDeny=\n"


class Host:
    """A guest with the package in it, an identity, and what `leadglass-provision` put into place."""

    def __init__(self, lab: Lab, signed: SignedPolicies) -> None:
        self.lab, self.guest, self.guard = lab, lab.guest, LabGuard(lab, signed)

    def run(self, *command: str, check: bool = True) -> Done:
        program, *rest = command
        return self.guest.run(quoted(f"/opt/leadglass/bin/{program}", *rest), check=check, timeout_s=120)

    def status(self) -> dict[str, int]:
        agent = f"runuser -u leadglass -- /opt/leadglass/bin/leadglass-agent status --json --data {DATA}"
        status: dict[str, int] = json.loads(self.guest.run(agent).out)
        return status

    def property(self, name: str, unit: str = AGENT) -> str:
        return self.guest.run(["systemctl", "show", "--value", f"--property={name}", unit]).out.strip()

    def held(self) -> str:
        """Return the digests of what lies sealed on this host."""
        return self.guest.run(f"find {DATA}/spool -type f -size +1k -exec sha256sum {{}} +").out

    def has_ended(self, unit: str) -> bool:
        return self.property("ActiveState", unit) in ("inactive", "failed")

    def inside(self, program: str, *arguments: str) -> str:
        self.guest.put(f"/run/{program}", (INSIDE / program).read_bytes())
        return self.guest.run(quoted("python3", f"/run/{program}", *arguments), timeout_s=180).out.strip()


def enrolled_with_a_policy(place: Path) -> bytes:
    """Return the folder of an agent that has accepted a policy, whose centre has gone since."""
    (place / "centre").mkdir()
    centre, folder = Centre(place / "centre"), AgentFolder(place / "agent")
    centre.start()
    try:
        enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
        centre.publish(1)
        with in_thread(Agent(Settings(folder, Address("127.0.0.1", 0, "X")), SystemClock(), MemoryLog())):
            centre.wait_for(lambda: any(state.policy_in_force == 1 for state in centre.states))
    finally:
        centre.stop()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder.path, ".")
    return buffer.getvalue()


def as_sent(image: ImageFile) -> bytes:
    request = associate_request("CT1", (image.sop_class, image.transfer_syntax))
    sent = store(image.dataset, sop_class=image.sop_class, instance=image.sop_instance, pdu_bytes=16_000)
    return len(request).to_bytes(2, "big") + request + sent


@pytest.fixture(scope="module")
def host(guest_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The one machine of these tests: the guard denies by default, and the agent runs."""
    signed = SignedPolicies(tmp_path_factory.mktemp("signed"))
    data = enrolled_with_a_policy(tmp_path_factory.mktemp("enrolled"))
    with Lab(guest_image) as lab:
        host = Host(lab, signed)
        lab.guest.put("/run/package.tar", package())
        lab.guest.put("/run/data.tar", data)
        lab.guest.put(f"/etc/systemd/system/{AGENT}.d/90-lab.conf", SOONER)
        lab.guest.run("tar xf /run/package.tar -C / && rm /run/package.tar")
        host.run(*INSTALL)
        assert host.property("ActiveState") == "inactive"
        lab.guest.put(f"{STATE}/trust.json", signed.trust.encode(), mode=0o600)
        lab.guest.run(f"tar xf /run/data.tar -C {DATA} && chown -R leadglass: {DATA} && rm /run/data.tar")
        lab.usb.keyboard("console", port="8")
        lab.tree.await_device(PINNED)
        host.run("leadglass-guard", "pin-console", "--port", PINNED)
        done = host.run("leadglass-provision", "install", "--deny-by-default")
        assert f"start     {AGENT}" in done.out
        lab.guest.put("/run/sent", as_sent(load("CT_small.dcm")))
        assert host.inside("send.py", "/run/sent") == "0"
        lab.guest.run(["systemctl", "start", "--no-block", *ONCE])
        yield host


def test_the_agent_captures_under_its_own_account_and_tells_systemd_that_it_lives(host: Host) -> None:
    assert host.property("ActiveState") == "active"
    assert host.property("StatusText").startswith("host host-")
    assert host.property("User") == "leadglass"
    assert host.property("ControlGroup").startswith("/leadglass.slice/leadglass-host.slice/")
    assert host.guest.run(f"stat --format=%U {DATA}/spool").out.strip() == "leadglass"

    # One that hangs is ended and started anew, and what it captured is there.
    pid, restarts = host.property("MainPID"), int(host.property("NRestarts"))
    host.guest.run(["kill", "-STOP", pid])
    until("it was started anew", lambda: host.property("MainPID") not in ("0", pid), 180, 1)
    until("it is up again", lambda: host.property("ActiveState") == "active", 180, 1)
    assert int(host.property("NRestarts")) == restarts + 1
    assert "watchdog" in host.guest.run(f"journalctl --no-pager --output=cat --unit {AGENT} _PID=1").out.lower()
    status = host.status()
    assert (status["captured"], status["waiting"]) == (1, 1)


def test_the_agent_is_reached_by_whom_its_settings_name_and_by_nobody_else(host: Host) -> None:
    assert "IPAddressAllow=10.9.9.0/24" in host.guest.read(DROP_IN)
    assert host.inside("reach.py", "10.9.9.9") == "reached"
    assert host.inside("reach.py", "10.8.8.8") == "nobody answers"

    # The control: without the list, the same address reaches the agent that runs.
    host.guest.put(f"/etc/systemd/system/{AGENT}.d/95-open.conf", OPEN_TO_ALL)
    host.guest.run("systemctl daemon-reload")
    assert host.inside("reach.py", "10.8.8.8") == "reached"
    host.guest.run(f"rm /etc/systemd/system/{AGENT}.d/95-open.conf && systemctl daemon-reload")
    assert host.inside("reach.py", "10.8.8.8") == "nobody answers"


def test_the_guard_blocks_storage_leaves_the_console_alone_and_locks_no_disk(host: Host, sticks: Media) -> None:
    lab = host.lab
    assert host.guard.await_decided(PINNED, Authorized.YES).cause.value == "pinned-console"
    keys_arrive(lab)
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")
    assert host.guard.await_decided(STICK, Authorized.NO).cause.value != "pinned-console"
    assert lab.tree.bound(STICK) == NOTHING
    assert not lab.guest.glob("/sys/block/sd*")

    # A disk of the machine's own, as whoever wipes it opens it.
    wiped = lab.guest.run(
        "truncate -s 1M /run/disk && modprobe loop && disk=$(losetup --find --show /run/disk) && "
        "head -c 1M /dev/urandom | dd of=$disk bs=64k oflag=direct,sync status=none && losetup --detach $disk"
    )
    assert wiped.code == 0


def test_of_what_root_wiped_the_agent_s_account_reads_the_outcome_and_adds_nothing(host: Host) -> None:
    as_agent = "runuser -u leadglass --"
    host.guest.run(f"install -m 640 -g leadglass /dev/null {WIPES}/out/one.report")

    assert host.guest.run(f"{as_agent} cat {WIPES}/out/one.report").code == 0
    for forbidden in (
        f"touch {WIPES}/out/forged.report",
        f"touch {WIPES}/forged",
        "/opt/leadglass/bin/leadglass-wipe status",
    ):
        assert host.guest.run(f"{as_agent} {forbidden}", check=False, timeout_s=120).code != 0, forbidden
    host.guest.run(f"rm {WIPES}/out/one.report")


def test_what_a_timer_starts_does_its_work_behind_the_same_walls(host: Host) -> None:
    for unit in ONCE:
        until(f"{unit} has ended", partial(host.has_ended, unit), 120, 1)
        assert host.property("Result", unit) == "success"
        assert host.property("ExecMainStartTimestamp", unit) != ""


def test_it_is_taken_away_again_and_the_image_stays(host: Host) -> None:
    held = host.held()
    # The machine is told from outside to deny, so the keyboard stays pinned until a person gives it up.
    assert "so the console stays pinned" in host.run("leadglass-provision", "uninstall").out
    assert host.guest.glob("/etc/udev/rules.d/60-leadglass-console.rules")
    host.run("leadglass-guard", "pin-console", "--remove", PINNED)
    said = host.run("leadglass-provision", "uninstall").out

    assert f"left: {DATA}: identity, spool and journal" in said
    assert host.property("ActiveState") == "inactive"
    assert host.property("LoadState", "leadglass-guard.service") == "not-found"
    assert not host.guest.glob("/etc/udev/rules.d/*leadglass*")
    assert held == host.held() != ""
