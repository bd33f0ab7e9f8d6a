"""`leadglass-server` as a person or a script meets it: real folders and sockets."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from control_plane.cli.client import AddressRefused, PeopleDoor
from tests.control_plane.cli.running import PORTS, Running, run, run_apart, running


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("centre")) as centre:
        yield centre


def test_a_second_server_on_the_same_data_is_refused(centre: Running) -> None:
    code, _, errors = run_apart("run", "--data", centre.data, *PORTS)

    assert code == 1
    assert "in use by another control plane process" in errors


def test_the_ready_file_says_where_the_doors_are_now(centre: Running) -> None:
    code, out, _ = run("status", *centre.who, "--json")

    assert code == 0
    assert json.loads(out)["recovery"]["state"] == "not recoverable"


def test_a_link_to_the_page_is_made_on_request_and_told_to_nobody_else(centre: Running) -> None:
    told = "".join(centre.told)
    code, out, _ = run("sign-in", *centre.who, "--json")

    assert code == 0
    assert "token=" not in told
    url = urlsplit(json.loads(out)["link"])
    for status in (302, 401):
        connection = HTTPConnection(url.hostname or "", url.port, timeout=20)
        connection.request("GET", f"{url.path}?{url.query}")
        assert connection.getresponse().status == status
        connection.close()


def test_only_its_owner_reads_what_a_control_plane_keeps(centre: Running) -> None:
    kept = [path for top in (centre.data, centre.handover) for path in (top, *top.rglob("*"))]

    assert [path for path in kept if path.stat().st_mode & 0o077] == []


def test_a_port_in_use_stops_the_start_and_leaves_nothing_running(centre: Running, tmp_path: Path) -> None:
    data, ready = tmp_path / "data", tmp_path / "ready.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = ("--host-port", "0", "--enrol-port", "0", "--people-port", str(port), "--no-broker")
        code, _, errors = run_apart("run", "--data", data, "--handover", tmp_path / "h", *ports, "--ready-file", ready)

    assert code == 3
    assert f"the door of people cannot be opened on port {port}: Address already in use" in errors
    assert not ready.exists()


def test_a_finished_control_plane_is_not_made_again(centre: Running, tmp_path: Path) -> None:
    data, handover = tmp_path / "data", tmp_path / "handover"
    code, out, _ = run("init", "--data", data, "--handover", handover, "--json")

    assert code == 0
    assert [Path(share).read_text().count(" ") for share in json.loads(out)["shares"]] == [32] * 3
    code, _, errors = run("init", "--data", data, "--handover", tmp_path / "other")
    assert code == 1
    assert "holds a control plane already" in errors
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("left", ["root-key", "db", "objects"])
def test_what_an_interrupted_first_start_left_is_called_that(tmp_path: Path, left: str) -> None:
    (tmp_path / "data" / left).mkdir(parents=True)

    folders = ("--data", tmp_path / "data", "--handover", tmp_path / "handover")
    for code, _, errors in (run("init", *folders), run_apart("run", *PORTS, *folders)):
        assert code == 1
        assert "if a first start was interrupted here, nothing relies on what it left" in errors


def test_a_damaged_database_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "leadglass.sqlite").write_bytes(b"no database at all" * 100)

    code, _, errors = run_apart("run", "--data", tmp_path, *PORTS)
    assert code == 3
    assert "file is not a database" in errors


@pytest.mark.parametrize(
    "wrong",
    [("--person", "../../../etc/cron.d/x"), ("--host", "a b"), ("--handover", "data/handover")],
    ids=["a path for a name", "no host", "shares among what is backed up"],
)
def test_init_refuses_what_it_cannot_make_sense_of(tmp_path: Path, wrong: tuple[str, str]) -> None:
    given = {"--handover": "handover", wrong[0]: wrong[1]}
    arguments = [part for name, value in given.items()
                 for part in (name, str(tmp_path / value) if name == "--handover" else value)]  # fmt: skip

    code, _, _ = run("init", "--data", tmp_path / "data", *arguments)
    assert code == 1
    assert not (tmp_path / "data").exists()


def test_another_host_name_than_the_certificates_carry_is_refused(tmp_path: Path) -> None:
    run("init", "--data", tmp_path / "data", "--handover", tmp_path / "handover", "--host", "centre.example")

    code, _, errors = run_apart("run", "--data", tmp_path / "data", *PORTS, "--host", "10.0.0.1")
    assert code == 1
    assert "certify itself for centre.example, localhost, and not for 10.0.0.1" in errors
    assert "leadglass-server authority request --host 10.0.0.1" in errors


def test_an_export_that_cannot_be_kept_is_neither_made_nor_recorded(centre: Running, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")

    for out in (taken, tmp_path / "no folder" / "x"):
        code, _, _ = run("audit", "export", *centre.who, "--out", out)
        assert code == 2
    assert taken.read_text() == "mine"
    events: list[dict[str, Any]] = json.loads(run("audit", "tail", *centre.who, "--json")[1])["records"]
    assert not any("export" in event["reason"] for event in events)


def test_a_move_of_hosts_that_nobody_knows_is_refused_and_none_is_listed(centre: Running) -> None:
    hosts = ("--from", "host-" + "0a" * 16, "--to", "host-" + "0b" * 16)
    code, _, errors = run("spool", "allow", *hosts, "--reason", "box died", *centre.who)

    assert code == 1
    assert "was never enrolled here" in errors
    code, out, _ = run("spool", "list", *centre.who)
    assert (code, out) == (0, "no move was ever allowed\n")
    assert run("spool", "end", "0badc0de", *centre.who)[0] == 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("spool", "allow", "--from", "CT 2", "--to", "CT 3", "--reason", "box died"), "from: expected host- and 32"),
        (("open", "xyz", "--reason", "second opinion", "--out", "x"), "object id is malformed: expected 32 lower-case"),
        (("code", "--asset", ""), "asset: expected at least 1 character"),
        (("find", "--study", "a study"), "study: expected a DICOM UID"),
        (("audit", "find", "--from", "01.03.2026"), "--from is malformed: 01.03.2026 is neither a day such as"),
        (("audit", "find", "--from", "2026-03-07", "--to", "2026-03-01"), "--to is malformed: 2026-03-01 is not after"),
        (("audit", "verify", "--kept", sys.executable), "it is no checkpoint, as `audit checkpoint --out` writes one"),
        (("audit", "find", "--host", "CT 2"), "host id is malformed: expected host- and 32"),
        (
            ("host", "revoke", "host-1", "--reason", "stolen"),
            "leadglass-server: host id is malformed: expected host- and",
        ),
        (
            ("routes", "again", "pacs", "--since", "lunch", "--reason", "stolen"),
            "--since is malformed: lunch is neither",
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_named(centre: Running, arguments: tuple[str, ...], says: str) -> None:
    code, _, errors = run(*arguments, *centre.who)

    assert code == 2
    assert says in errors


GRADED = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14", addresses: [192.0.2.10]}
grading:
  default: restricted
  grades: [general, restricted, secret]
  rules:
    - {when: {modality: [MG]}, grade: secret}
    - {when: {calling_ae_title: [PHANTOM]}, grade: general}
timings: {state_every_s: 5, pull_every_s: 30}
"""


def test_checking_a_policy_says_what_it_means_and_what_may_not_be_meant(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GRADED.replace(", addresses: [192.0.2.10]", ""))

    code, out, _ = run("policy", "check", policy)
    assert code == 0
    assert "  2. rule 1, modality is MG: secret, to the vault\n" in out
    assert "is this meant? CT1: neither addresses nor certificates are listed" in out
    told = json.loads(run("policy", "check", policy, "--json")[1])
    assert (told["state"], told["modalities"], len(told["doubts"])) == ("checked", 1, 1)


def test_a_policy_may_name_a_rules_file_beside_it_and_none_elsewhere(tmp_path: Path) -> None:
    policy, rules = tmp_path / "policy.yaml", tmp_path / "usb.rules"
    policy.write_text(GRADED + "devices: {rules_file: usb.rules}\n")
    rules.write_text("allow with-interface 09:00:00\nallow with-interface 03:01:01\n")

    code, out, _ = run("policy", "check", policy)
    assert (code, "is this meant? devices, rule 2 allows a keyboard in any port" in out) == (0, True)
    rules.unlink()
    rules.symlink_to("/etc/passwd")
    code, _, errors = run("policy", "check", policy)
    assert (code, "devices.rules_file: usb.rules: " in errors) == (2, True)


def test_the_fingerprint_of_the_root_is_told_to_who_signed_it(centre: Running) -> None:
    code, out, _ = run("policy", "root", *centre.who)

    assert code == 0
    assert re.fullmatch(r"policy root 1  [0-9a-f]{64}\n", out)
    assert json.loads(run("policy", "root", *centre.who, "--json")[1])["roots"]["1"] in out


def test_a_policy_that_is_refused_is_exit_code_2_and_names_the_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GRADED.replace("grade: secret", "grade: top"))

    code, _, errors = run("policy", "check", policy)
    assert code == 2
    assert f"{policy}:8: grading.rules[1].grade: grade top is not in grading.grades" in errors


def test_after_the_first_start_there_are_keys_for_three_grades_and_for_no_other(
    centre: Running, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(GRADED)

    code, out, errors = run("policy", "publish", policy, *centre.who)
    assert (code, errors) == (0, "")
    assert "policy 1 is published" in out
    policy.write_text(GRADED.replace("secret", "top"))
    code, _, errors = run("policy", "publish", policy, *centre.who)
    assert code != 0
    assert "no key for grade top; use one that the centre has keys for: general, restricted, secret" in errors


class Stored(BaseHTTPRequestHandler):
    """A people's door with two data sets under one UID, and an image of which nothing could be read."""

    objects: ClassVar[list[dict[str, Any]]] = [
        {"object": "a" * 32, "claims": 2, "conflicts_with": ["b" * 32], "same_as": [], "not_compared": []},
        {"object": "c" * 32, "claims": None, "conflicts_with": None, "same_as": None, "not_compared": None},
    ]
    facts: ClassVar[dict[str, Any]] = {"captured": "2026-03-01T08:00:00.000000Z", "host": "host-1", "dataset_bytes": 7}

    def do_POST(self) -> None:
        body = json.dumps({"objects": [{**one, **self.facts} for one in self.objects]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_find_says_below_an_object_what_it_conflicts_with(centre: Running) -> None:
    with HTTPServer(("127.0.0.1", 0), Stored) as door:
        serving = threading.Thread(target=door.handle_request)
        serving.start()
        code, out, _ = run("find", *centre.who[:2], "--url", f"http://127.0.0.1:{door.server_port}")
        serving.join()

    assert code == 0
    assert out.splitlines()[1:2] == [f"    conflicts with {'b' * 32}: other data sets under the same SOP Instance UID"]
    assert "    its attributes were not evaluated" in out


def test_open_conflicts_are_asked_for_and_only_an_open_one_is_settled(centre: Running) -> None:
    assert run("find", "--conflicts", *centre.who)[:2] == (0, "0 found\n")

    code, _, errors = run("settle", "0" * 32, "--reason", "looked into", *centre.who)
    assert code == 1
    assert f"object {'0' * 32} is in no conflict that is open" in errors


def test_the_custody_statement_of_no_object_is_refused_and_leaves_no_file(centre: Running, tmp_path: Path) -> None:
    code, _, errors = run("custody", "0" * 32, "--out", tmp_path / "custody.json", *centre.who)

    assert code == 1
    assert "the vault holds no object" in errors
    assert not (tmp_path / "custody.json").exists()


def test_an_unreachable_control_plane_is_exit_code_3(centre: Running) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        code, _, errors = run("status", *centre.who[:2], "--url", f"http://127.0.0.1:{nobody.getsockname()[1]}")

    assert code == 3
    assert "is `leadglass-server run` running?" in errors


def test_a_reader_that_leaves_early_gets_no_traceback(centre: Running) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "control_plane", "audit", "tail", *map(str, centre.who)]
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(program, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=180)

    assert done.stderr == ""


def test_a_share_that_is_no_text_is_refused(centre: Running) -> None:
    share = centre.handover / "recovery-share-1.txt"
    code, _, errors = run("keys", "drill", "--data", centre.data, *centre.who, "--share", share, "--share", "/bin/true")

    assert code == 1
    assert "do not recover the root key" in errors


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8440", "http://127.0.0.1", "https://127.0.0.1:8440", "http://10.0.0.1:8440", "http://127.0.0.1:99999",
     "http://127.0.0.1@evil.example:80", "http://localhost.evil.example:80", "http://127.0.0.1:80/x"],
)  # fmt: skip
def test_a_credential_goes_nowhere_but_to_this_machine(url: str) -> None:
    with pytest.raises(AddressRefused):
        PeopleDoor(url, "secret")
