"""The commands as a field engineer types them."""

import io
import sys
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.config import AgentFolder, load_enrolment
from edge_agent.host_keys.tpm import TpmVault
from shared.fleet.keys import KeyProtection
from tests.fakes.centre import Centre
from tests.fakes.software_tpm import SoftwareTpm

FILE, TPM = KeyProtection


@pytest.fixture
def with_tpm(tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: tpm.vault)


@pytest.fixture
def without_tpm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: TpmVault("device:/dev/no-such-tpm"))


def enrol(centre: Centre, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch, *keys: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(centre.issue_code().text() + "\n"))
    return main(["enrol", "--data", str(folder.path), "--url", centre.enrol_url, "--asset", "CT 2", *keys])


@pytest.fixture
def folder(tmp_path: Path) -> AgentFolder:
    return AgentFolder(tmp_path / "agent")


@pytest.mark.usefixtures("with_tpm")
def test_a_host_with_a_tpm_is_enrolled_into_it_unless_told_otherwise(
    centre: Centre, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(centre, folder, monkeypatch) == 0

    assert load_enrolment(folder).config.keys is TPM
    assert "\nkeys: tpm: it encrypted and decrypted what it was given to try\n" in capsys.readouterr().out
    main(["status", "--data", str(folder.path)])
    assert "keys                 tpm\n" in capsys.readouterr().out


@pytest.mark.usefixtures("with_tpm")
def test_a_file_is_taken_where_it_is_asked_for(
    centre: Centre, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(centre, folder, monkeypatch, "--keys", "file") == 0

    assert load_enrolment(folder).config.keys is FILE
    main(["status", "--data", str(folder.path)])
    assert "keys                 file (readable by root and by whoever takes the disk)\n" in capsys.readouterr().out


@pytest.mark.usefixtures("without_tpm")
def test_a_host_without_a_tpm_says_what_it_took_and_why(
    centre: Centre, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(centre, folder, monkeypatch) == 0

    assert load_enrolment(folder).config.keys is FILE
    told = capsys.readouterr().out
    assert "keys: file (readable by root and by whoever takes the disk): the TPM cannot serve" in told
    assert "switch it on in the firmware" in told


@pytest.mark.usefixtures("without_tpm")
def test_a_tpm_that_was_asked_for_and_is_not_there_spends_no_code(
    centre: Centre, folder: AgentFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(centre, folder, monkeypatch, "--keys", "tpm") == 3

    assert "switch it on in the firmware" in capsys.readouterr().err
    assert len(centre.codes) == 1
    assert not folder.path.exists()


@pytest.mark.usefixtures("with_tpm")
def test_keys_are_moved_into_the_tpm_and_back(enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for to, said in (("tpm", "keys: tpm"), ("file", "keys: file (readable by root and by whoever takes the disk)")):
        assert main(["keys", "move", "--data", str(enrolled.path), "--to", to]) == 0
        assert capsys.readouterr().out.splitlines()[0] == said
        assert load_enrolment(enrolled).config.keys == to


@pytest.mark.usefixtures("without_tpm")
def test_without_a_tpm_nothing_is_moved(enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.read_bytes() for file in enrolled.identity.iterdir()}

    assert main(["keys", "move", "--data", str(enrolled.path), "--to", "tpm"]) == 3
    assert "switch it on in the firmware" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in enrolled.identity.iterdir()} == before


@pytest.mark.usefixtures("with_tpm")
def test_the_certificate_for_modalities_is_made_in_the_tpm_too(
    enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["keys", "move", "--data", str(enrolled.path), "--to", "tpm"])
    capsys.readouterr()
    assert main(["dicom-certificate", "--data", str(enrolled.path)]) == 0

    assert "-----BEGIN CERTIFICATE-----" in capsys.readouterr().out
    assert (enrolled.identity / "dicom.tpm.pem").exists()
    assert not (enrolled.identity / "dicom.pem").exists()
