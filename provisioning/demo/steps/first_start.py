"""The control plane's first start, the recovery drill, and the people's door."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from provisioning.demo.expectations import Expectation
from provisioning.demo.people import PeopleDoor, fetch
from provisioning.demo.processes import run, wait_until
from provisioning.demo.stage import Centre, Stage

PERSON = "ada.okafor"
_FOUND, _UNAUTHORISED, _OK = 302, 401, 200

_EXPECTED = (
    Expectation("centre-started", "one command makes the certificate authority, the keys and the doors"),
    Expectation("not-recoverable", "before any drill the status says that the root key is not recoverable"),
    Expectation("one-share-is-not-enough", "one recovery share alone recovers nothing"),
    Expectation("recoverable", "two of three shares and the database open a test object, and the status says so"),
    Expectation("strangers-stay-out", "without a credential the people's door says nothing"),
    Expectation("sign-in-works-once", "the sign-in link opens the status page once and never again"),
)
_EXPECTED_WITH_BROKER = (
    Expectation(
        "broker-is-managed", "Mosquitto runs as the control plane's own child, and takes client certificates only"
    ),
)


def expected(*, broker: bool) -> tuple[Expectation, ...]:
    return (*_EXPECTED, *(_EXPECTED_WITH_BROKER if broker else ()))


def start(stage: Stage, *, broker: bool) -> Centre:
    """Start the control plane, without a broker where `broker` says so."""
    folders = stage.folders
    ready_file = folders.logs / "control-plane-ready.json"
    with stage.display.doing("leadglass-server run"):
        child = stage.children.start(
            "leadglass-server",
            "run",
            "--data",
            str(folders.control_plane),
            "--handover",
            str(folders.handover),
            "--person",
            PERSON,
            "--host-port",
            "0",
            "--enrol-port",
            "0",
            "--people-port",
            "0",
            "--mqtt-port",
            "0",
            "--ready-file",
            str(ready_file),
            *(() if broker else ("--no-broker",)),
        )
        ready = child.wait_ready(ready_file)
    ready_file.unlink()  # it holds the sign-in link
    centre = Centre(
        child,
        PeopleDoor(str(ready["people_url"]), folders.credential),
        enrol_url=str(ready["enrol_url"]),
        hosts_port=int(urlsplit(str(ready["hosts_url"])).port or 0),
        mqtt_port=ready["mqtt_port"],
    )
    status = centre.people.status()
    made = sorted(path.name for path in folders.handover.iterdir())
    stage.judge("centre-started", len(made) == 5, f"process {child.pid}; handed over once: {', '.join(made)}")
    if broker:
        waited = wait_until(lambda: centre.people.status()["broker"]["state"] == "running", 20)
        evidence = f"{centre.people.status()['broker']['state']}, port {centre.mqtt_port}, mutual TLS only"
        stage.judge("broker-is-managed", waited is not None and centre.mqtt_port is not None, evidence)
    _drill(stage, centre, status)
    _sign_in(stage, centre, ready)
    return centre


def _drill(stage: Stage, centre: Centre, before: Mapping[str, Any]) -> None:
    recovery, folders = before["recovery"], stage.folders
    stage.judge("not-recoverable", recovery["state"] == "not recoverable", f"status: {recovery['state']}")

    def drill(*shares: int) -> Any:
        given = [argument for number in shares for argument in ("--share", str(folders.share(number)))]
        return run(
            "leadglass-server",
            "keys",
            "drill",
            "--data",
            str(folders.control_plane),
            "--as",
            str(folders.credential),
            "--url",
            centre.people.url,
            *given,
        )

    with stage.display.doing("leadglass-server keys drill"):
        alone, two = drill(2, 2), drill(1, 3)
        after = centre.people.status()["recovery"]
    stage.judge("one-share-is-not-enough", alone.exit_code == 1, alone.message)
    recovered = two.exit_code == 0 and after["state"] == "recoverable"
    stage.judge("recoverable", recovered, f"shares 1 and 3: {two.message}; status: {after['state']}")


def _sign_in(stage: Stage, centre: Centre, ready: Mapping[str, Any]) -> None:
    url, link = centre.people.url, urlsplit(str(ready["sign_in_url"]))
    stranger = [fetch(url, "GET", path, {}).status for path in ("/", "/api/v1/status", "/api/v1/audit/records")]
    stage.judge(
        "strangers-stay-out", stranger == [_UNAUTHORISED] * 3, f"HTTP {', '.join(map(str, stranger))} without one"
    )
    path = f"{link.path}?{link.query}"
    first = fetch(url, "GET", path, {})
    cookie = first.headers.get("set-cookie", "").partition(";")[0]
    page = fetch(url, "GET", "/", {"Cookie": cookie})
    again = fetch(url, "GET", path, {})
    held = (first.status, page.status, again.status) == (_FOUND, _OK, _UNAUTHORISED) and "Leadglass" in page.text
    stage.judge("sign-in-works-once", held, f"first use {first.status}, page {page.status}, second use {again.status}")
