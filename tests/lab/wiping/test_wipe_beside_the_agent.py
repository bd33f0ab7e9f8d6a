"""The agent's service and the program that root runs, on one host with one cable: what each does and may do.

The ticket comes by the broker's hint, the wipe is done at a terminal, and the agent brings the evidence to the centre.
Of its own accord the agent would not ask for an hour. For `make soak`: every run has the wipe (test_wipe_commands.py),
what the agent brings (tests/edge_agent/wipes), and what its account may do there (installed/test_units.py).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from edge_agent.usb_policy.pinning import pin
from provisioning.demo.processes import run
from shared.enrolment.code import EnrolmentCode
from shared.sanitization.exchange import ASKED_FILE
from tests.lab.centre import centre
from tests.lab.guard import package
from tests.lab.image import Image
from tests.lab.lab import INSIDE, Lab
from tests.lab.wiping.hospital import (
    AGENT,
    GUARD,
    PATIENT,
    POLICY,
    STATE,
    Hospital,
    beginning,
    drives,
    fill,
    order_for,
    packed,
    put_technician,
    technician,
    technician_of,
)
from tests.lab.wire import until

BIN, AS_AGENT = "/opt/leadglass/bin", "runuser -u leadglass --"
UNIT, SYSUSERS = "leadglass-agent.service", "/opt/leadglass/systemd/sysusers.d/leadglass.conf"
SIZE = 64 << 20  # still being written when it is seen to be
SELDOM = POLICY.replace("pull_every_s: 5", "pull_every_s: 3600")


@pytest.fixture
def connected(tmp_path: Path, guest_image: Image) -> Iterator[tuple[Hospital, Lab]]:
    """An enrolled and installed host, whose guard and agent run as services and have the policy."""
    with centre(tmp_path, with_broker=True) as running:
        running.publish(SELDOM)
        hospital = Hospital(running, technician_of(running), tmp_path)
        agent, guard = AgentFolder(tmp_path / "agent"), tmp_path / "guard"
        code = EnrolmentCode.parse(running.code("CT 2"))
        enrol(agent, f"https://127.0.0.1:{running.ports['enrol']}", code, "CT 2")
        guard.mkdir(mode=0o700)
        pin(guard, agent.path)
        with Lab(guest_image) as lab:
            lab.network.plug(running.for_hosts)
            lab.guest.put("/run/clock.py", (INSIDE / "clock.py").read_bytes())
            lab.guest.put("/run/package.tar", package())
            lab.guest.put("/run/data.tar", packed({AGENT: agent.path, GUARD: guard}))
            lab.guest.run(
                "python3 /run/clock.py && tar xf /run/package.tar -C / && tar xf /run/data.tar -C / && "
                f"rm /run/*.tar && systemd-sysusers {SYSUSERS} && chown -R leadglass: {AGENT}"
            )
            lab.guest.run(f"{BIN}/leadglass-provision install --guard", timeout_s=300)
            lab.guest.run(f"systemctl start leadglass-guard.service {UNIT}", timeout_s=300)
            put_technician(lab)
            # The agent asks once it has a policy with wipes, and will not by itself for the better part of an hour.
            lab.guest.await_there(f"{AGENT}/wipe-tickets/{ASKED_FILE}", 300)
            lab.guest.await_there(f"{GUARD}/accepted/policy.json", 300)
            yield hospital, lab


def state_of(hospital: Hospital, order: str) -> str:
    return str(hospital.technician("show", order)["state"])


@pytest.mark.soak
def test_a_ticket_comes_by_itself_and_the_agent_brings_what_the_technician_did(
    connected: tuple[Hospital, Lab],
) -> None:
    hospital, host = connected
    drive = host.drives.nvme("BES1DE", "nvme0n1", SIZE, "slot0")
    fill(drive)
    order = order_for(hospital, drives(host)["BES1DE"])
    host.guest.await_there(f"{AGENT}/wipe-tickets/{order}.ticket", 300)
    assert host.guest.run(f"stat --format=%U {AGENT}/wipe-tickets/{order}.ticket").out.strip() == "leadglass"

    steps = [
        ("Leadglass wipe - Tickets", "1"),
        *beginning("BES1DE"),
        ("random data", ""),
        ("leadglass-wipe report", "q"),
    ]
    at_work = host.guest.spawn(technician(steps))
    at_work.await_line("random data", 300)
    until("the centre knows that it runs", lambda: state_of(hospital, order) != "approved", 300, 2)
    _, screen = at_work.await_line("leadglass-wipe report", 300)
    assert at_work.await_end(60) == 0
    until("the centre has the evidence", lambda: state_of(hospital, order) == "verified", 300, 2)

    assert "CLEARED" in screen
    assert PATIENT not in drive.read_bytes()
    shown = hospital.technician("show", order)
    assert [note["event"] for note in shown["notes"]] == ["accepted", "started", "ended"]
    (report,) = shown["reports"]
    assert (report["brought_by"], report["judged"]) == (None, "cleared-verified")
    # The ticket is done with, and the centre offers it no more.
    host.guest.await_gone(f"{AGENT}/wipe-tickets/{order}.ticket", 120)
    # The agent reads what root left there, and can neither add to it nor see what is beside it.
    assert host.guest.run(f"{AS_AGENT} cat {STATE}/out/{order}.report > /dev/null").code == 0
    for forbidden in (f"touch {STATE}/out/forged.report", f"ls {STATE}/attempts", f"{BIN}/leadglass-wipe status"):
        assert host.guest.run(f"{AS_AGENT} {forbidden}", check=False, timeout_s=120).code != 0, forbidden
    assert host.guest.run(["systemctl", "show", "--value", "--property=ActiveState", UNIT]).out.strip() == "active"

    folder = hospital.folder / "certificate"
    hospital.centre.person("wipe", "certify", order, "--out", str(folder))
    ca = hospital.folder / "root.pem"
    ca.write_bytes(host.guest.get(f"{AGENT}/identity/ca.pem"))
    for suffix in ("json", "pdf"):
        run("leadglass-verify", "certificate", str(folder / f"wipe-{order}.{suffix}"), "--ca", str(ca)).succeeded()
    assert hospital.centre.person("audit", "verify").exit_code == 0
