"""What `leadglass-provision broker` writes is what the contract runs with, and nothing odd gets into it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.enrolment.profiles import make_root
from provisioning.__main__ import main
from provisioning.broker import mosquitto, nats, rabbitmq
from provisioning.broker.layout import Plan, Tls, host_subject, parse_hosts
from provisioning.command import BAD_INPUT, OK
from shared.enrolment.chain import pem_of
from shared.errors import Malformed
from shared.identity import HostId
from tests.control_plane.fleet.pki import TestCa

HOSTS = (HostId(bytes(16)), HostId(b"\xff" * 16))
CENTRE = "Leadglass 0123456789abcdef"
TLS = Tls(Path("/etc/leadglass/ca.pem"), Path("/etc/broker/cert.pem"), Path("/etc/broker/key.pem"))


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ca.pem").write_bytes(pem_of([make_root(key, CENTRE, datetime(2026, 11, 29, tzinfo=UTC))]))
    return replace(TLS, client_ca=tmp_path / "ca.pem")


@pytest.fixture
def hosts(tmp_path: Path, tls: Tls) -> Path:
    file = tmp_path / "hosts"
    file.write_text("".join(f"{host}\n" for host in HOSTS))
    return file


def run(kind: str, out: Path, hosts: Path, *more: str) -> int:
    return main(
        ["broker", kind, "--out", str(out), "--hosts", str(hosts), "--client-ca", str(hosts.with_name("ca.pem")),
         "--certificate", str(TLS.certificate), "--key", str(TLS.key), *more]
    )  # fmt: skip


CLUSTER = nats.Cluster("one", "10.0.0.1:6222", ("10.0.0.1:6222", "10.0.0.2:6222", "10.0.0.3:6222"), Path("/etc/ca.pem"))
NATS = ["--node", "one", "--cluster-listen", "10.0.0.1:6222", "--peer-ca", "/etc/ca.pem"]
NATS += [word for peer in CLUSTER.peers for word in ("--peer", peer)]


@pytest.mark.parametrize("kind", ["mosquitto", "nats", "rabbitmq"])
def test_the_command_writes_what_the_contract_runs_with(tmp_path: Path, hosts: Path, tls: Tls, kind: str) -> None:
    centre = "" if kind == "mosquitto" else CENTRE
    plan = Plan(tmp_path / "broker", "0.0.0.0", 8883, tls, HOSTS, centre)  # noqa: S104
    expected = {"mosquitto": mosquitto.files(plan), "rabbitmq": rabbitmq.files(plan), "nats": nats.files(plan, CLUSTER)}

    code = run(kind, tmp_path / "broker", hosts, *(NATS if kind == "nats" else []))

    written = {path.name: path.read_text() for path in (tmp_path / "broker").iterdir()}
    assert (code, written) == (OK, expected[kind])


@pytest.mark.parametrize("kind", ["mosquitto", "nats", "rabbitmq"])
def test_a_host_that_left_the_list_is_in_no_file_any_more(tmp_path: Path, hosts: Path, kind: str) -> None:
    more = NATS if kind == "nats" else []
    run(kind, tmp_path / "broker", hosts, *more)
    before = "".join(path.read_text() for path in (tmp_path / "broker").iterdir())
    hosts.write_text(f"{HOSTS[0]}\n")
    run(kind, tmp_path / "broker", hosts, *more)
    after = "".join(path.read_text() for path in (tmp_path / "broker").iterdir())

    assert (str(HOSTS[1]) in before, str(HOSTS[1]) in after, str(HOSTS[0]) in after) == (True, False, True)


@pytest.mark.parametrize(
    "line", ["#", "control-plane", "host-", f'{HOSTS[0]}"', f"{HOSTS[0]}\ttopic readwrite #", "host-" + "G" * 32]
)
def test_what_is_no_host_id_gets_into_no_configuration(tmp_path: Path, hosts: Path, line: str) -> None:
    hosts.write_text(f"{HOSTS[0]}\n{line}\n")

    assert run("mosquitto", tmp_path / "broker", hosts) == BAD_INPUT
    assert not (tmp_path / "broker").exists()
    with pytest.raises(Malformed):
        parse_hosts(line)


@pytest.mark.parametrize("path", ["relative.pem", '/etc/a"b', "/etc/a b", "/etc/a\nuser root", "/etc/{x}"])
def test_a_path_that_a_configuration_could_misread_is_refused(tmp_path: Path, hosts: Path, path: str) -> None:
    with pytest.raises(SystemExit) as refused:
        run("nats", tmp_path / "broker", hosts, *NATS, "--key", path)

    assert refused.value.code == BAD_INPUT


@pytest.mark.parametrize("kind", ["nats", "rabbitmq"])
def test_a_broker_of_two_centres_lets_neither_act_as_the_other(tmp_path: Path, hosts: Path, kind: str) -> None:
    run(kind, tmp_path / "broker", hosts, *(NATS if kind == "nats" else []))
    written = "".join(path.read_text() for path in (tmp_path / "broker").iterdir())

    assert f"CN=control-plane,OU=service,O={CENTRE}" in written
    assert '"CN=control-plane,OU=service"' not in written


def test_an_authority_that_names_no_centre_is_refused(tmp_path: Path, hosts: Path) -> None:
    hosts.with_name("ca.pem").write_bytes(TestCa().pem)

    assert run("rabbitmq", tmp_path / "broker", hosts) == BAD_INPUT


def test_rabbitmq_gives_no_user_a_password() -> None:
    plan = Plan(Path("/srv/broker"), "0.0.0.0", 8883, TLS, HOSTS)  # noqa: S104
    definitions = json.loads(rabbitmq.files(plan)[rabbitmq.DEFINITIONS])

    assert {user["name"] for user in definitions["users"]} > {host_subject(host) for host in HOSTS}
    assert {user["password_hash"] for user in definitions["users"]} == {""}
