"""The figures of the conformance statement are those of the programs. Its cipher suites are in `test_tls.py`."""

from pathlib import Path

import pytest

from control_plane.http.host_door import MAX_OBJECT_BYTES
from edge_agent.capture import negotiation
from edge_agent.capture.association import _LINGER_S, MAX_PDU_BYTES, Patience
from edge_agent.capture.crowd import Limits
from edge_agent.commitment import association, conversation, judge, requests, store
from edge_agent.commitment.reporter import Pauses
from shared.dicom import dimse, requestor
from shared.routes.decide import IMAGE_PAUSES, MOST_BREAKS, ROUTE_PAUSES

PAGE = Path(__file__).parents[3] / "docs" / "dicom-conformance.md"
MODALITY, ARCHIVE, REPORT, LIMITS = Patience(), requestor.Patience(), association._PATIENCE, Limits()
IN_WORDS: dict[float, str] = {1: "an", 3: "three", 24: "a"}
FIGURES = [
    f"{MAX_PDU_BYTES:,} as acceptor, {requestor._RECEIVE_BYTES:,} as requestor",
    f"what the peer states, {requestor._SEND_BYTES:,} at the most",
    f"{LIMITS.associations} of modalities that policy binds to an address or certificate, {LIMITS.associations} of",
    f"{LIMITS.associations_of_one} from one address in each",
    f"{LIMITS.connections} from addresses that policy lists, {LIMITS.connections} from others",
    f"from others, {LIMITS.connections_of_one} from one",
    f"{negotiation._IMPLEMENTATION_CLASS}, {negotiation._IMPLEMENTATION_VERSION};",
    f"waits {_LINGER_S:g} s at the most",
    f"longer than {dimse.MAX_COMMAND_BYTES >> 10} KiB",
    f"not whole within {MODALITY.request_s:g} s",
    f"nothing for {MODALITY.stall_s:g} s, or less than {MODALITY.pace_bytes >> 10} KiB in a minute",
    f"between messages: nothing for {MODALITY.idle_s:g} s",
    f"the vault takes up to {MAX_OBJECT_BYTES >> 30} GiB",
    f"more than {requests.MAX_REFERENCES:,} instances or {requests.MAX_BYTES >> 20} MiB in one request",
    f"more than {store.MAX_OPEN:,} requests or {store.MAX_OPEN_REFERENCES:,} instances open",
    f"said {IN_WORDS[judge.UNKNOWN_AFTER_LAST_CAPTURE.total_seconds() / 3600]} hour after request or last image",
    f"at the latest {IN_WORDS[judge.UNKNOWN_AT_THE_LATEST.total_seconds() / 3600]} day after the request",
    f"where none takes it within {Pauses().attended_s:g} s",
    f"has {REPORT.associate_s:g} s to answer the association request and {conversation.ANSWER_S:g} s for each report",
    f"carries {association._MOST:,} reports at the most and begins none after {Pauses().most_s:g} s",
    f"nothing for {ARCHIVE.answer_s:g} s after a data set",
    f"during which that happened {IN_WORDS[MOST_BREAKS]} times",
    f"{ARCHIVE.associate_s:g} s to archives, {REPORT.associate_s:g} s to modalities",
    f"{ARCHIVE.answer_s:g} s from archives, {REPORT.answer_s:g} s from modalities",
    f"release, as requestor | no | {ARCHIVE.release_s:g} s",
    f"after {ROUTE_PAUSES[0].seconds} s, then up to {ROUTE_PAUSES[1].seconds // 60} min",
    f"refuses after {IMAGE_PAUSES[0].seconds // 60} min, then up to a day",
]


def stated() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("figure", FIGURES)
def test_the_conformance_statement_says_what_the_programs_do(figure: str) -> None:
    assert figure in stated()


def test_its_minute_and_its_day_are_so_long() -> None:
    assert (MODALITY.pace_s, IMAGE_PAUSES[1].days) == (60, 1)


def test_control_another_figure_is_seen() -> None:
    assert f"{LIMITS.associations + 1} of modalities that policy binds" not in stated()
