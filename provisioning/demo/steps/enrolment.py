"""A host gets its identity from one code, judges the control plane by it, and takes up its work."""

import secrets
import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from provisioning.demo.expectations import Expectation
from provisioning.demo.processes import Child, Ran, run, wait_until
from provisioning.demo.stage import Centre, Stage
from shared import clock
from shared.enrolment.code import SECRET_BYTES, EnrolmentCode

ASSET = "CT 2, room 1.14"
AE_TITLE = "LEADGLASS"
_SERVED = "served"
_LONGEST_IDENTITY = timedelta(days=31)

_EXPECTED = (
    Expectation("forged-fingerprint-refused", "a host refuses a control plane that its code does not name"),
    Expectation("nothing-sent-to-strangers", "it sent nothing to it: the same secret still enrols"),
    Expectation("enrolled", "the host enrols with the real code and gets a short-lived certificate"),
    Expectation("code-works-once", "the code does not work a second time, and says no more than a wrong one"),
    Expectation("hosts-door-needs-certificate", "the hosts' door ends the handshake without a client certificate"),
    Expectation("agent-started", "the agent runs as a process of its own and reports"),
)
_EXPECTED_WITH_BROKER = (Expectation("broker-needs-certificate", "so does the broker"),)


def expected(*, broker: bool) -> tuple[Expectation, ...]:
    return (*_EXPECTED, *(_EXPECTED_WITH_BROKER if broker else ()))


@dataclass(frozen=True)
class Host:
    host_id: str
    dicom_port: int


def enrol(stage: Stage, centre: Centre) -> Host:
    with stage.display.doing("leadglass-server code"):
        issued = run(
            "leadglass-server",
            "code",
            "--as",
            str(stage.folders.credential),
            "--url",
            centre.people.url,
            "--asset",
            ASSET,
            "--json",
        ).json()
    code = EnrolmentCode.parse(issued["code"])
    stage.display.say(f"one-time code for {ASSET}: {issued['code'][:10]}... valid until {issued['expires']}")
    with tempfile.TemporaryDirectory(prefix="leadglass-demo-") as elsewhere:
        _refuse_a_forged_centre(stage, centre, code, Path(elsewhere))
        _enrol(stage, centre, code)
        _refuse_a_second_use(stage, centre, code, Path(elsewhere))
    _refuse_strangers(stage, centre)
    host_id = str(centre.people.status()["hosts"][0]["host"])
    return Host(host_id, free_port())


def start_agent(stage: Stage, host: Host) -> Child:
    """Start the agent and return once it says that it is ready."""
    ready_file = stage.folders.logs / "agent-ready.json"
    ready_file.unlink(missing_ok=True)
    child = stage.children.start(
        "leadglass-agent",
        "run",
        "--data",
        str(stage.folders.agent),
        "--dicom-port",
        str(host.dicom_port),
        "--ae-title",
        AE_TITLE,
        "--ready-file",
        str(ready_file),
    )
    child.wait_ready(ready_file)
    return child


def show_agent(stage: Stage, centre: Centre, host: Host) -> Child:
    with stage.display.doing("leadglass-agent run"):
        child = start_agent(stage, host)
        waited = wait_until(lambda: centre.people.host(host.host_id).get("reported") is not None, 20)
    seen = centre.people.host(host.host_id)
    evidence = f"process {child.pid}; the status says: {seen['state']}, policy {seen.get('policy_in_force') or 'none'}"
    stage.judge("agent-started", waited is not None and child.is_running, evidence)
    return child


def _refuse_a_forged_centre(stage: Stage, centre: Centre, code: EnrolmentCode, elsewhere: Path) -> None:
    # What a host sees when it was led to another server: the code names another certificate than the one it is shown.
    forged = EnrolmentCode(code.secret, secrets.token_bytes(32))
    with stage.display.doing("leadglass-agent enrol, led to the wrong control plane"):
        tried = _try(centre, forged, elsewhere / "misled")
    stage.judge(
        "forged-fingerprint-refused",
        tried.exit_code == 1 and not _has_identity(elsewhere / "misled"),
        _shortened(tried.message),
    )


def _enrol(stage: Stage, centre: Centre, code: EnrolmentCode) -> None:
    with stage.display.doing("leadglass-agent enrol"):
        done = _try(centre, code, stage.folders.agent)
        hosts = centre.people.status()["hosts"]
    stage.judge("nothing-sent-to-strangers", done.exit_code == 0, "the code was not used up by the attempt before")
    if not hosts:
        stage.judge("enrolled", False, done.message)
        done.succeeded()
    life = clock.parse(hosts[0]["certificate_expires"]) - clock.parse(hosts[0]["enrolled"])
    held = done.exit_code == 0 and len(hosts) == 1 and timedelta() < life < _LONGEST_IDENTITY
    stage.judge("enrolled", held, f"{hosts[0]['host']}, certificate for {life.total_seconds() / 86_400:.0f} days")


def _refuse_a_second_use(stage: Stage, centre: Centre, code: EnrolmentCode, elsewhere: Path) -> None:
    wrong = EnrolmentCode(secrets.token_bytes(SECRET_BYTES), code.ca_sha256)
    with stage.display.doing("leadglass-agent enrol, with the same code again"):
        again, guessed = _try(centre, code, elsewhere / "second"), _try(centre, wrong, elsewhere / "guessed")
    refused = again.exit_code == guessed.exit_code == 1 and not _has_identity(elsewhere / "second")
    stage.judge("code-works-once", refused and again.message == guessed.message, again.message)


def _refuse_strangers(stage: Stage, centre: Centre) -> None:
    ca = stage.folders.agent / "identity" / "ca.pem"
    said = _without_certificate(centre.hosts_port, ca)
    stage.judge("hosts-door-needs-certificate", said != _SERVED, said)
    if centre.mqtt_port is not None:
        said = _without_certificate(centre.mqtt_port, ca)
        stage.judge("broker-needs-certificate", said != _SERVED, said)


def _without_certificate(port: int, ca: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            # In TLS 1.3 the server's alert comes with the first answer, after our side of the handshake.
            secured.sendall(b"GET /api/v1/policy/head HTTP/1.0\r\n\r\n")
            return _SERVED if secured.recv(1) else "closed"
    except ssl.SSLError as exc:
        return (exc.reason or "TLS alert").lower().replace("_", " ")
    except ConnectionError:
        return "closed"


def _try(centre: Centre, code: EnrolmentCode, folder: Path) -> Ran:
    # The code goes in by standard input: an argument would be in the process list for everybody to read.
    return run(
        "leadglass-agent",
        "enrol",
        "--data",
        str(folder),
        "--url",
        centre.enrol_url,
        "--asset",
        ASSET,
        "--keys",
        "file",  # the demonstration is the same on every machine
        text_in=code.text() + "\n",
    )


def _has_identity(folder: Path) -> bool:
    return (folder / "identity").exists()


def _shortened(message: str) -> str:
    return " ".join(word if len(word) < 40 else f"{word[:12]}..." for word in message.split())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
