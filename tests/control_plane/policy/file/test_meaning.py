"""What `policy check` tells the person who is about to sign."""

from dataclasses import replace

from control_plane.policy.file.meaning import describe, doubts
from shared.policy.document import Modality
from shared.policy.grading import Grading
from tests.control_plane.policy.file.full import MEANT


def test_tells_who_may_send_how_images_are_graded_and_where_they_go() -> None:
    fingerprint = MEANT.modalities[0].certificates[0][:16]

    first = (
        "  MG1: mammography, room 2.03; from 192.0.2.10, 192.0.2.16/28, 2001:db8::10; over TLS with certificate "
        f"{fingerprint}…; commitment is reported to MG1_SC at 192.0.2.10 port 104 over TLS; "
        "export folder: move each file after the receipt; known to archives as MG MGROOM2"
    )

    stick = (
        "  2. a device with id 0951:1666, that is storage (08:06:50): allowed, only if it is encrypted, "
        "until 2026-12-31T18:00:00Z"
    )

    assert describe(MEANT) == [
        "who may send",
        first,
        "  CT1: CT, room 1.14; known to archives as CT",
        "grades, the strictest last: general, restricted, secret",
        "how an image is graded, the first line that holds",
        "  1. it cannot be read: secret, to the vault and to pacs-old",
        "  2. rule 1, department_name is *BREAST* or *SENO* and modality is MG: secret, to the vault and to pacs-main",
        "  3. rule 2, calling_ae_title is PHANTOM: general, to the vault",
        "  4. any other: restricted, to the vault and to pacs-main, pacs-old",
        "routes",
        "  pacs-main: the centre, as LEADGLASS, sends to PACS at pacs.example port 2762 over TLS",
        "  pacs-old: the host that captured, as LEADGLASS, sends to OLD at 127.0.0.1 port 104 in clear",
        "coverage: compared with what PACS at pacs.example port 104 in clear, asked as LEADGLASS, knows",
        "spool: at most 50 GiB",
        "custody: digests of decoded frames are kept",
        "what may be plugged in, the first line that holds",
        "  1. a device that is a hub (09:00:00), a hub (09:00:01) or a hub (09:00:02): allowed",
        stick,
        "  3. any other device: blocked",
        "a device that seems to be another than before: blocked, whatever they say",
        "the technologist reads English, and is told to call biomedical engineering, phone 4711",
        "what a host looks for on itself, every 60 s",
        "  ctconsole talking to anybody but 192.0.2.0/24 port 104, 2001:db8::10",
        "  programs that may not run: /opt/*/vnc*",
        "  disks that are not encrypted, under /var/images",
        "  swap that is not encrypted",
        "  less than 10240 MiB free under /var/images",
        "  a clock that is off by more than 2000 ms",
        "what a certified wipe of a host's drive needs",
        "  Purge of NIST SP 800-88: what was stored cannot be had back by those of a laboratory either",
        "  the whole drive is read again afterwards",
        "  2 people approve, besides whoever asks for it, and that holds for 24 h",
        "  the host itself and the centre refuse a ticket that is laxer",
    ]


def test_tells_what_the_smallest_policy_means() -> None:
    smallest = replace(
        MEANT,
        modalities=(),
        grading=Grading("restricted"),
        routes=(),
        coverage=None,
        devices=None,
        watch=None,
        wipe=None,
    )

    told = describe(replace(smallest, spool_quota_bytes=512 << 20, frame_digests=False))
    assert told == [
        "who may send",
        "  nobody",
        "grades, the strictest last: restricted",
        "how an image is graded, the first line that holds",
        "  1. it cannot be read: restricted, to the vault",
        "  2. any other: restricted, to the vault",
        "spool: at most 512 MiB",
    ]
    assert describe(replace(smallest, spool_quota_bytes=0))[-2] == "spool: as much as the disk takes"


def about(found: list[str]) -> set[str]:
    return {doubt.partition(":")[0].partition(" is ")[0] for doubt in found}


def test_doubts_what_is_allowed_and_may_not_be_meant() -> None:
    assert about(doubts(MEANT)) == {"CT1", "route pacs-old", "coverage"}


def test_doubts_a_route_that_no_image_takes_and_an_archive_that_never_sees_the_unreadable() -> None:
    found = doubts(replace(MEANT, grading=replace(MEANT.grading, routes=(), ungraded_routes=())))

    assert "route pacs-old: grading names it nowhere, so no image takes it" in found
    assert "grading.ungraded_routes" in about(found)


def test_names_only_some_of_many_modalities() -> None:
    many = tuple(Modality(f"CT{n}", "") for n in range(1, 9))

    found = doubts(replace(MEANT, modalities=many, coverage=None))
    assert [doubt for doubt in found if doubt.startswith("CT1, CT2, CT3, CT4, CT5 and 3 more: neither addresses")]
