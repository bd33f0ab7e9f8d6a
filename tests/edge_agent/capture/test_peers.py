"""Senders that others wrote: DCMTK's, as shipped, on one association and on several."""

import shutil
import subprocess
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from edge_agent.capture.listener import DicomListener
from shared.audit.events import Event
from tests.edge_agent.capture.images import NAMES, Image, load, shipped
from tests.edge_agent.capture.test_listener import listening
from tests.fakes.centre import open_object
from tests.fakes.host import Host

pytestmark = [
    pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed (Debian package dcmtk)"),
    pytest.mark.filterwarnings("ignore:::pydicom"),
]

# One file and transfer syntax each; DCMTK sends the bytes of the file where it need not decode them.
SYNTAXES = {
    "MR_small.dcm": "--propose-uncompr",
    "MR_small_implicit.dcm": "--propose-implicit",
    "MR_small_bigendian.dcm": "--propose-big",
    "MR_small_RLE.dcm": "--propose-rle",
    "MR_small_jp2klossless.dcm": "--propose-j2k-lossless",
    "MR_small_jpeg_ls_lossless.dcm": "--propose-jls-lossless",
    "JPGExtended.dcm": "--propose-jpeg12",
    "image_dfl.dcm": "--propose-deflated",
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


REPEATED = ("--repeat", "25")


def peer(program: str, listener: DicomListener, *more: str) -> "subprocess.Popen[bytes]":
    command = [program, "--aetitle", "CT1", "127.0.0.1", str(listener.port), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def opened(host: Host) -> list[tuple[str, bytes]]:
    found = []
    for spooled in host.spool.everything():
        with host.spool.open(spooled) as file:
            dataset, _, parts = open_object(file.read(), host.signer.public, host.keys)
        found.append((parts.binding.transfer_syntax, dataset))
    return found


def pixels(image: Image) -> bytes:
    """Return the encoded pixel data. DCMTK drops group lengths and padding, so the rest may differ."""
    data = pydicom.dcmread(image.path).PixelData
    assert isinstance(data, bytes)
    return data


def test_echoscu_is_answered(host: Host) -> None:
    with listening(host) as listener:
        assert peer("echoscu", listener).wait(120) == 0


@pytest.mark.parametrize("name, proposal", SYNTAXES.items())
def test_storescu_s_transfer_syntaxes_are_kept(host: Host, name: str, proposal: str) -> None:
    image = load(name)
    with listening(host) as listener:
        assert peer("storescu", listener, proposal, str(image.path)).wait(120) == 0

    ((transfer_syntax, dataset),) = opened(host)
    assert transfer_syntax == image.transfer_syntax
    assert pixels(image) in (zlib.decompress(dataset, -zlib.MAX_WBITS) if "deflated" in proposal else dataset)


def test_dcmsend_sends_a_folder_of_everything(host: Host, tmp_path: Path) -> None:
    images = [load(name) for name in NAMES if name != "rtplan.dcm"]  # whose group 0002 names another instance
    for image in images:
        shutil.copy(image.path, tmp_path / image.name)
    with listening(host) as listener:
        files = [str(tmp_path / image.name) for image in images]
        assert peer("dcmsend", listener, "--decompress-never", "--no-uid-checks", *files).wait(120) == 0

    found = Counter(syntax for syntax, _ in opened(host))
    # Of the uncompressed ones dcmsend uses the first that was accepted.
    uncompressed = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
    compressed = Counter(image.transfer_syntax for image in images if image.transfer_syntax not in uncompressed)
    # Two of them are one instance in two encodings, of which dcmsend makes the same.
    assert found.total() + host.events().count(Event.IMAGE_REPEATED) == len(images)
    assert found & compressed == compressed


# DCMTK reads a file before it sends it. These it may not understand, and then does not send.
NOT_FOR_DCMTK = {
    "MR_truncated.dcm", "SC_rgb_jpeg.dcm", "UN_sequence.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm", "priv_SQ.dcm",
    "rtdose_rle.dcm", "rtdose_rle_1frame.dcm", "rtplan_truncated.dcm",
}  # fmt: skip
_TRAILING_PADDING = 0xFFFCFFFC


def profile(images: list[Image]) -> str:
    """Return a configuration of storescu's in which every pair of class and transfer syntax has its own context."""
    syntaxes = sorted({image.transfer_syntax for image in images})
    pairs = sorted({(image.sop_class, syntaxes.index(image.transfer_syntax)) for image in images})
    lines = ["[[TransferSyntaxes]]"]
    for number, syntax in enumerate(syntaxes):
        lines += [f"[S{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[Each]"]
    lines += [f"PresentationContext{n} = {uid}\\S{syntax}" for n, (uid, syntax) in enumerate(pairs, 1)]
    return "\n".join([*lines, "[[Profiles]]", "[Each]", "PresentationContexts = Each", ""])


def told(dataset: bytes, transfer_syntax: str) -> pydicom.Dataset:
    """Return what a data set tells, without what DCMTK mends: group lengths, padding at the end, OW for fragments."""
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        dataset = zlib.decompress(dataset, -zlib.MAX_WBITS)
    syntax = UID(transfer_syntax)
    read = read_dataset(BytesIO(dataset), syntax.is_implicit_VR, syntax.is_little_endian)
    read.walk(_drop_group_length)
    read.pop(_TRAILING_PADDING, None)
    if syntax.is_encapsulated and "PixelData" in read:
        read["PixelData"].VR = "OB"
    return read


def _drop_group_length(dataset: pydicom.Dataset, element: DataElement) -> None:
    if element.tag.element == 0:
        del dataset[element.tag]


def test_every_file_that_ships_with_pydicom_is_kept_as_storescu_sends_it(host: Host, tmp_path: Path) -> None:
    sent = [image for image in shipped() if image.name not in NOT_FOR_DCMTK]
    (tmp_path / "profile.cfg").write_text(profile(sent))
    with listening(host) as listener:
        files = [str(image.path) for image in sent]
        assert peer("storescu", listener, "-xf", str(tmp_path / "profile.cfg"), "Each", *files).wait(120) == 0

    outcomes = [event for event in host.events() if event is not Event.IMAGE_CONFLICTS]
    assert set(outcomes) <= {Event.IMAGE_CAPTURED, Event.IMAGE_REPEATED}
    # A few files are one image under two names once DCMTK has mended them.
    sent = [image for image, event in zip(sent, outcomes, strict=True) if event is Event.IMAGE_CAPTURED]
    kept = opened(host)
    assert [syntax for syntax, _ in kept] == [image.transfer_syntax for image in sent]
    changed = [(image, dataset) for image, (_, dataset) in zip(sent, kept, strict=True) if image.dataset != dataset]
    # DCMTK gives sequences lengths, too; most files leave it nothing to do.
    assert len(changed) < len(sent) / 3
    for image, dataset in changed:
        syntax = image.transfer_syntax
        assert told(dataset, syntax) == told(image.dataset, syntax), image.name


def test_four_associations_at_once_lose_nothing_and_mix_nothing_up(host: Host) -> None:
    image = load("MR_small.dcm")
    with listening(host) as listener:
        senders = [
            peer("storescu", listener, *REPEATED, "--invent-instance", "--max-pdu", str(4096 << n), str(image.path))
            for n in range(4)
        ]
        assert [sender.wait(120) for sender in senders] == [0] * 4

    found = [dataset for _, dataset in opened(host)]
    assert len(set(found)) == 100
    assert all(pixels(image) in dataset for dataset in found)
    assert host.events() == [Event.IMAGE_CAPTURED] * 100


def test_the_same_image_on_four_associations_at_once_is_kept_once(host: Host) -> None:
    image = load("MR_small.dcm")
    with listening(host) as listener:
        senders = [peer("storescu", listener, *REPEATED, str(image.path)) for _ in range(4)]
        assert [sender.wait(120) for sender in senders] == [0] * 4

    assert len(opened(host)) == 1
    assert Counter(host.events()) == {Event.IMAGE_CAPTURED: 1, Event.IMAGE_REPEATED: 99}
