"""The audit log: every source's chain proved again, and once more by the offline verifier from an export."""

import json
from typing import Any

from provisioning.demo.expectations import Expectation
from provisioning.demo.processes import run, wait_until
from provisioning.demo.stage import Centre, Stage
from provisioning.demo.steps.enrolment import Host
from shared.identity import CONTROL_PLANE

_WAIT_S = 30.0
_BESIDE = {"certificates", "merkle-log", "search-index", "blind-index", "database"}  # stand beside the sources

EXPECTED = (
    Expectation("audit-delivered", "the host's audit records have all been delivered"),
    Expectation(
        "audit-verified",
        "every source's chain and signatures verify, record by record; the certificates are those that it names",
    ),
    Expectation(
        "audit-verified-offline", "leadglass-verify comes to the same from an export, without the control plane"
    ),
)


def audit(stage: Stage, centre: Centre, host: Host) -> None:
    with stage.display.doing("waiting for the host's last records"):
        waited = wait_until(lambda: centre.people.host(host.host_id)["audit_waiting"] == 0, _WAIT_S)
    stage.judge("audit-delivered", waited is not None, f"{centre.people.host(host.host_id)['audit_waiting']} waiting")
    with stage.display.doing("leadglass-server audit verify"):
        verdicts = verify(stage, centre)
    sources = {CONTROL_PLANE, host.host_id, *_BESIDE}
    held = set(verdicts) == sources and all(v["state"] == "verified" for v in verdicts.values())
    said = "; ".join(f"{source[:13]} {v['records']} records {v['state']}" for source, v in sorted(verdicts.items()))
    stage.judge("audit-verified", held, said)
    _verify_offline(stage, centre)


def verify(stage: Stage, centre: Centre) -> dict[str, Any]:
    """Return the control plane's verdict on each source."""
    answer = run(
        "leadglass-server",
        "audit",
        "verify",
        "--as",
        str(stage.folders.credential),
        "--url",
        centre.people.url,
        "--json",
    )
    # It exits with 1 where something was altered, and that is an answer too.
    verdicts: dict[str, Any] = json.loads(answer.out) if answer.out else answer.json()
    return verdicts


def _verify_offline(stage: Stage, centre: Centre) -> None:
    file = stage.folders.data / "audit-export.jsonl"
    with stage.display.doing("leadglass-verify audit"):
        run(
            "leadglass-server",
            "audit",
            "export",
            "--as",
            str(stage.folders.credential),
            "--url",
            centre.people.url,
            "--out",
            str(file),
        ).succeeded()
        judged = run("leadglass-verify", "audit", str(file), "--ca", str(stage.folders.agent / "identity" / "ca.pem"))
    last = [line for line in judged.out.splitlines() if line.strip()][-1:]
    stage.judge("audit-verified-offline", judged.exit_code == 0, last[0] if last else judged.message)
