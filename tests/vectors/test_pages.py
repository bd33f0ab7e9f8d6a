"""The pages in docs/formats say what the vectors and the code say."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

import control_plane.http.enrolment_door
import control_plane.http.host_identity
import control_plane.vault.self_test
import control_plane.witnesses.gathering  # noqa: F401 (as below)
import edge_agent.commands.executor
import edge_agent.moving.importer  # noqa: F401 (its refusals stand on a page)
from provisioning.verify.image import ImageState
from shared import canonical
from shared.audit.events import EVENT_CODES
from shared.audit.record import leaf_hash
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.keys import NoteKey, cosigned_at
from shared.audit.tlog.note import Note
from shared.audit.tlog.proof_text import verify_inclusion
from shared.audit.tlog.proofs import ProofWrong
from shared.audit.tlog.tree import node_hash
from shared.custody.frames import LOSSY_SYNTAXES
from shared.enrolment.code import EnrolmentCode
from shared.errors import IntegrityFailure, Refused
from shared.fleet.command import ARGUMENTS, SignedCommand
from shared.signing import Label
from tests.vectors.generate import FORMATS
from tests.vectors.second_reader import is_lossy
from tests.vectors.test_vectors import FOLDER, VECTORS

OURS = tuple(f"{name}.md" for name in FORMATS)
PAGES = {path.name: path.read_text() for path in sorted((FOLDER.parents[1] / "docs/formats").glob("*.md"))}
every_page = pytest.mark.parametrize("name", PAGES)


def blocks(page: str) -> list[str]:
    """Return the indented blocks of a page."""
    return re.findall(r"(?:^ {4}.*\n)+", PAGES[page], re.MULTILINE)


def objects(page: str) -> list[bytes]:
    """Return the JSON examples of a page, their line breaks taken out."""
    joined = [re.sub(r"\n *", "", block) for block in blocks(page)]
    return [found.strip().encode() for block in joined for found in re.findall(r"\{\".*?\}(?=$| {2}|leaf)", block)]


def given(name: str, member: str) -> bytes:
    return base64.b64decode(VECTORS[name]["given"][f"{member}_base64"])


@every_page
def test_every_link_leads_somewhere(name: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGES[name]) if not link.startswith("http")]

    assert links
    assert not [link for link in links if not (FOLDER.parents[1] / "docs/formats" / link.split("#")[0]).exists()]


@every_page
def test_every_page_that_is_referred_to_by_section_has_it(name: str) -> None:
    for page, section in re.findall(r"\]\(([a-z-]+\.md)\) §(\d)", PAGES[name]):
        assert re.search(rf"^## {section}\. ", PAGES[page], re.MULTILINE), f"{page} has no section {section}"


def test_the_code_cites_pages_and_sections_that_exist() -> None:
    cited = [
        cite
        for path in (FOLDER.parents[1] / "shared").rglob("*.py")
        for cite in re.findall(r"docs/formats/([a-z-]+\.md)(?: section (\d))?", path.read_text())
    ]

    assert len(cited) > 10
    for page, section in cited:
        assert re.search(rf"^## {section or 1}\. ", PAGES[page], re.MULTILINE), f"{page} section {section}"


def test_the_refusals_on_the_pages_are_the_ones_of_the_code() -> None:
    known = {kind.__name__ for parent in (Refused, IntegrityFailure) for kind in descendants(parent)}
    named = {
        name
        for page in OURS
        for name in re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", PAGES[page])
        if name not in ("SealBase",)
    }

    assert named <= known
    assert {vector["expect"].get("error", "Malformed") for vector in VECTORS.values()} <= named


def descendants(kind: type[Exception]) -> set[type[Exception]]:
    return {kind} | {one for child in kind.__subclasses__() for one in descendants(child)}


def test_the_sealed_object_of_the_page_is_the_vector() -> None:
    file = given("sealed-object/ok-one-byte.json", "file").hex()
    example = PAGES["sealed-object.md"].partition("## 10.")[2]
    shown = [
        run for line in re.findall(r"^ +[\d,]+ {2}(.*?)(?: {3,}.*)?$", example, re.MULTILINE) for run in line.split()
    ]
    pieces = [run.rstrip(".") for run in shown if re.fullmatch(r"[0-9a-f]+(\.\.\.)?", run)]

    at = 0
    for piece in pieces:
        found = file.find(piece, at)
        assert found >= 0, f"{piece} is not in the vector after {at // 2} bytes"
        at = found + len(piece)
    assert len(pieces) > 30
    assert at == len(file)
    (record,) = objects("sealed-object.md")
    assert record.hex() in file


def test_the_signed_statement_of_the_page_is_the_vector() -> None:
    name = "signed-statement/ok.json"
    statement, key = blocks("signed-statement.md")[-2:]
    hex_digits = "".join(re.findall(r"\b(?:[0-9a-f]{8,}|0001)\b", statement))
    spki = "".join(re.findall(r"^ {4}([0-9a-f]+)$", key, re.MULTILINE))

    assert hex_digits == given(name, "signed").hex()
    assert spki == given(name, "spki").hex()


def test_the_labels_on_the_page_are_the_ones_of_the_code() -> None:
    assert set(re.findall(r"^\| `(leadglass .*? v1)`", PAGES["signed-statement.md"], re.MULTILINE)) == set(Label)


def test_the_audit_records_of_the_page_are_the_vector() -> None:
    batch: Any = json.loads(given("audit-record/ok-first.json", "batch"))
    leaves = re.findall(r"^ {4}leaf ([0-9a-f]{64})$", PAGES["audit-record.md"], re.MULTILINE)
    publics = [record["public"].encode() for record in batch["records"][:2]]

    assert objects("audit-record.md")[-2:] == publics
    assert leaves == [leaf_hash(public).hex() for public in publics]


def test_the_proof_of_the_page_is_of_the_record_of_the_other_page_and_cosigned() -> None:
    _, _, page = PAGES["audit-log.md"].partition("## 7. ")
    log, witness = (NoteKey.parse(found) for found in re.findall(r"^ {4}(\S+\+\S+\+\S+)$", page, re.MULTILINE))
    proof = re.sub(r"^ {4}", "", page[page.index("    c2sp.org/") :], flags=re.MULTILINE)
    first, second = (leaf_hash(public) for public in objects("audit-record.md")[-2:])
    _, _, checkpoint = proof.partition("\n\n")

    assert verify_inclusion(proof, first, [log]).index == 0
    assert claimed_head(checkpoint).root == node_hash(first, second)
    assert f"    root {node_hash(first, second).hex()}\n" in page
    ((_, signature),) = Note.parse(checkpoint).verify([witness])
    assert f"here {cosigned_at(signature.signature)}," in page
    with pytest.raises(ProofWrong):
        verify_inclusion(proof, second, [log])


def test_the_events_on_the_page_are_the_ones_of_the_code() -> None:
    rows = re.findall(r"^\| (110\d{3}) .*? \| (.*) \|$", PAGES["audit-record.md"], re.MULTILINE)

    assert {event: code for code, events in rows for event in re.findall(r"`([^`]+)`", events)} == {
        event.value: code for event, code in EVENT_CODES.items()
    }


def test_the_state_and_the_receipt_of_the_page_are_the_vectors() -> None:
    expected = [given(f"host-state/{name}-ok.json", "signed")[28:-64] for name in ("state", "receipt")]

    assert objects("host-state.md") == expected


def test_the_manifest_and_the_list_of_the_page_are_the_vectors() -> None:
    manifest = given("spool-export/manifest-ok.json", "signed")[28:-64]

    assert objects("spool-export.md") == [manifest, given("spool-export/list-ok.json", "bytes")]


def test_the_question_and_the_answer_of_the_page_are_the_vectors() -> None:
    expected = [given(f"self-test/{name}-ok.json", "signed")[28:-64] for name in ("question", "answer")]

    assert objects("self-test.md") == expected


def test_the_command_of_the_page_is_the_vector() -> None:
    envelope = SignedCommand.parse(given("command/command-ok.json", "bytes"))

    assert objects("command.md")[-1] == envelope.payload


def test_the_actions_on_the_page_are_the_ones_of_the_code() -> None:
    row = r"^\| `([a-z-]+)` \| (none|(`[a-z_]+`(?:, `[a-z_]+`)*): [^|]*) \|"
    rows = re.findall(row, PAGES["command.md"], re.MULTILINE)

    assert {action: re.findall(r"[a-z_]+", names) for action, _, names in rows} == {
        action.value: list(parameters) for action, parameters in ARGUMENTS.items()
    }


def test_the_code_of_the_page_is_the_vector() -> None:
    (text,) = re.findall(r"LG1-[0-9A-Z-]{80,}", PAGES["enrolment.md"])
    code = EnrolmentCode.parse(text)

    assert text == VECTORS["enrolment/code-ok.json"]["given"]["text"]
    assert {code.secret.hex(), code.ca_sha256.hex()} <= set(re.findall(r"[0-9a-f]{32,}", PAGES["enrolment.md"]))


def test_the_frame_of_the_custody_page_is_the_vector() -> None:
    vector = VECTORS["custody/pixels-ok-overlay-above.json"]
    shown = blocks("custody.md")[-1].split()

    assert given("custody/pixels-ok-overlay-above.json", "dataset").hex().endswith(shown[0])
    assert shown[1:] == [*vector["canonical_hex"], *vector["expect"]["frames"]]


def test_the_states_of_an_image_on_the_page_are_the_ones_of_the_code() -> None:
    table = PAGES["custody.md"].partition("| state of the image | when |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| ([a-z][^|]*?) \|", table, re.MULTILINE) == ["not proven", *_states_but("not proven")]


def _states_but(one: str) -> list[str]:
    return [state.value for state in ImageState if state.value != one]


def test_the_lossy_transfer_syntaxes_on_the_page_are_the_ones_of_the_code() -> None:
    every = [f"1.2.840.10008.1.2.4.{number}{more}" for number in range(300) for more in ("", ".1")]

    assert {syntax for syntax in every if is_lossy(syntax)} == LOSSY_SYNTAXES


def test_the_canonical_json_of_the_page_is_canonical() -> None:
    text, hex_digits = blocks("canonical-json.md")[-1].split()

    assert canonical.encode(json.loads(text)).hex() == hex_digits
    assert given("canonical-json/ok-object.json", "bytes") == text.encode()


def test_the_policy_of_the_page_is_the_vector_with_its_keys_shortened() -> None:
    shown = re.sub(r"\n *", "", blocks("policy.md")[-1].strip())
    document = given("policy/document-ok.json", "bytes").decode()

    assert shown == re.sub(r'("public":"[^"]{12})[^"]*', r"\1...", document)


def test_no_page_names_a_place_outside_the_repository() -> None:
    assert not [name for name, page in PAGES.items() if re.search(r"/(work|tmp|home)/", page)]


def test_the_readme_names_every_folder() -> None:
    readme = (FOLDER / "README.md").read_text()
    folders = [path for path in FOLDER.iterdir() if path.is_dir() and path.name not in ("generators", "__pycache__")]

    assert not [path.name for path in folders if f"`{Path(path.name)}/`" not in readme]
