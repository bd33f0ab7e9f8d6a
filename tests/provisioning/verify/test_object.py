"""`leadglass-verify object`: what it passes, what it refuses, and that it never claims what it did not look at."""

import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.verify.__main__ import BAD_INPUT, FAILED, OK, main
from provisioning.verify.certificate import Certified
from provisioning.verify.checks import State
from provisioning.verify.sealed_object import ObjectReport, judge_object
from shared.sealing import object_file
from tests.provisioning.verify.evidence import DAY, NOW, Authority, Source, part10, pem

DATASET = random.Random(7).randbytes(40_000)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def source() -> Source:
    return Source()


@pytest.fixture
def command(tmp_path: Path, authority: Authority, source: Source) -> Callable[..., list[str]]:
    """Return a command line over files of a good object; each file can be replaced by name."""

    def arguments(*more: str, **files: bytes) -> list[str]:
        certificate = authority.certify(str(source.host), "evidence", source.key)
        content = {
            "object": source.seal(DATASET),
            "cert": pem(certificate),
            "ca": pem(authority.certificate),
            "image": part10(DATASET),
            "bare": DATASET,
            **files,
        }
        for name, data in content.items():
            (tmp_path / name).write_bytes(data)
        chosen = [part.replace("@", f"{tmp_path}/") for part in more]
        return ["object", f"{tmp_path}/object", "--evidence-cert", f"{tmp_path}/cert", *chosen]

    return arguments


def state_of(report: ObjectReport, name: str) -> State:
    return next(check.state for check in report.checks if check.name == name)


def test_a_good_object_passes_and_its_content_is_said_to_be_sealed(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("--ca", "@ca")) == OK

    shown = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("FAILED") for line in shown)
    assert any(line.startswith("not evaluated  content of the sealed body") for line in shown)
    assert shown[-1].startswith("Proven: the holder of the certificate's key signed this sealed body")
    assert "Not proven: what the sealed body holds" in shown[-1]


def test_the_captured_image_is_recognised(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("--ca", "@ca", "--dataset", "@image", "--json")) == OK

    report = json.loads(capsys.readouterr().out)
    states = {check["check"]: check["state"] for check in report["checks"]}
    assert states["given dataset is the one captured"] == "passed"
    assert states["transfer syntax is the captured one"] == "passed"
    assert states["content of the sealed body"] == "not evaluated"
    assert report["ok"] is True


def test_a_bare_dataset_is_recognised(command: Callable[..., list[str]]) -> None:
    assert main(command("--dataset", "@bare", "--bare")) == OK


@pytest.mark.parametrize(
    "image",
    [part10(DATASET[:-1] + b"!"), part10(DATASET[:-1]), part10(DATASET, syntax="1.2.840.10008.1.2")],
    ids=["changed", "cut", "other transfer syntax"],
)
def test_refuses_an_image_that_is_not_the_captured_one(command: Callable[..., list[str]], image: bytes) -> None:
    assert main(command("--dataset", "@image", image=image)) == FAILED


def test_refuses_an_object_signed_by_another_host(command: Callable[..., list[str]]) -> None:
    assert main(command(object=Source().seal(DATASET))) == FAILED


def test_refuses_a_certificate_of_another_authority(command: Callable[..., list[str]]) -> None:
    assert main(command("--ca", "@ca", ca=pem(Authority().certificate))) == FAILED


def test_refuses_a_certificate_issued_by_something_that_is_no_authority(
    command: Callable[..., list[str]], authority: Authority, source: Source
) -> None:
    # A host's certificate offered as the authority: same key and name, but it may not issue.
    no_ca = authority.certify("Leadglass CA", "ca", authority.key)

    assert main(command("--ca", "@ca", ca=pem(no_ca))) == FAILED


@pytest.mark.parametrize(
    "since, until", [(NOW - 9 * DAY, NOW - timedelta(seconds=1)), (NOW + timedelta(seconds=1), NOW + 9 * DAY)]
)
def test_refuses_a_certificate_that_was_not_valid_at_capture(
    command: Callable[..., list[str]], authority: Authority, source: Source, since: object, until: object
) -> None:
    certificate = authority.certify(str(source.host), "evidence", source.key, since=since, until=until)  # type: ignore[arg-type]

    assert main(command("--ca", "@ca", cert=pem(certificate))) == FAILED


def test_accepts_a_certificate_that_has_expired_since(
    command: Callable[..., list[str]], authority: Authority, source: Source
) -> None:
    # Everything here is years in the past or future of whoever runs it; the time of capture alone counts.
    certificate = authority.certify(str(source.host), "evidence", source.key, since=NOW, until=NOW)

    assert main(command("--ca", "@ca", cert=pem(certificate))) == OK


@pytest.mark.parametrize("name, unit", [("host-" + "0" * 32, "evidence"), (None, "host")])
def test_refuses_a_certificate_for_another_name_or_purpose(
    command: Callable[..., list[str]], authority: Authority, source: Source, name: str | None, unit: str
) -> None:
    certificate = authority.certify(name or str(source.host), unit, source.key)

    assert main(command(cert=pem(certificate))) == FAILED


def test_no_changed_bit_goes_unseen_but_in_what_is_sealed_for_others(authority: Authority, source: Source) -> None:
    # Wrap and index are boxes for the key holder: an outsider sees their form only, and is told so.
    sealed = source.seal(b"a small dataset")
    certified = Certified(authority.certify(str(source.host), "evidence", source.key))
    good = judge_object(io.BytesIO(sealed), certified, None, None)
    parts = object_file.parse(io.BytesIO(sealed))
    boxes = parts.body_offset + parts.body_bytes
    unseen = []

    for offset in range(len(sealed)):
        changed = bytearray(sealed)
        changed[offset] ^= 1
        if judge_object(io.BytesIO(bytes(changed)), certified, None, None).ok:
            unseen.append(offset)
    assert good.ok
    assert state_of(good, "contents of key wrap and sealed index") is State.NOT_EVALUATED
    assert unseen
    assert set(unseen) <= set(range(boxes, boxes + len(parts.wrap) + len(parts.index)))


@pytest.mark.parametrize("cut", [1, 28, 500, 2000])
def test_refuses_a_cut_object(command: Callable[..., list[str]], source: Source, cut: int) -> None:
    assert main(command(object=source.seal(DATASET)[:-cut])) == FAILED


def test_says_when_it_was_given_something_else(command: Callable[..., list[str]], tmp_path: Path) -> None:
    assert main(command(object=b"GIF89a, a picture of a cat")) == BAD_INPUT
    assert main(command(cert=b"not a certificate")) == BAD_INPUT
    assert main(command("--dataset", "@image", image=DATASET)) == BAD_INPUT
    assert main(["object", f"{tmp_path}/absent", "--evidence-cert", f"{tmp_path}/cert"]) == BAD_INPUT


def test_refuses_an_evidence_certificate_on_another_curve(
    command: Callable[..., list[str]], authority: Authority, source: Source
) -> None:
    other = authority.certify(str(source.host), "evidence", ec.generate_private_key(ec.SECP384R1()))

    assert main(command(cert=pem(other))) == BAD_INPUT


def test_help_loads_no_cryptography() -> None:
    script = (
        "import sys; from provisioning.verify.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    script += "print('cryptography' in sys.modules)"

    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert shown.endswith("False\n")
    assert "not evaluated" in shown
