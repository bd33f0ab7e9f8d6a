"""What somebody does to a bundle on its way, each with the check that finds it."""

import stat
import tarfile
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.bundle.archive import MAX_BYTES, MAX_MEMBERS, Member
from provisioning.bundle.host import Host
from provisioning.bundle.install import Wish, keys_after
from provisioning.bundle.make import Contents, PackagesMissing, SiteHoldsCode, make
from provisioning.bundle.manifest import BEGIN, KEY, SIGNATURE, SUMS, VERSION, Manifest, parse_pem, parse_sums, pem
from provisioning.bundle.verify import BundleAltered, UnknownReleaseKey
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.signing import Label, SignatureInvalid, SoftwareSigner, sign_detached
from tests.provisioning.bundle.making import (
    SITE,
    WHEN,
    field,
    judged,
    members,
    packed,
    release_key,
    signed_again,
    small_bundle,
)  # fmt: skip

_KEY = release_key().public


def header_at(bundle: bytes, name: str) -> int:
    return next(at for at in range(0, len(bundle), 512) if bundle[at:].startswith(name.encode() + b"\0"))


@pytest.fixture(scope="module")
def signer() -> SoftwareSigner:
    return release_key()


@pytest.fixture(scope="module")
def bundle(signer: SoftwareSigner, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_bundle(tmp_path_factory.mktemp("bundle"), signer)


def test_a_bundle_gives_back_what_went_in(bundle: bytes, signer: SoftwareSigner) -> None:
    verified, taken = judged(bundle, signer.public)

    assert (verified.manifest, verified.key) == (Manifest("0.1.0", WHEN), signer.public)
    assert taken["packages/leadglass-agent_0.1.0.deb"] == b""
    assert taken["packages/media-types_1.deb"].startswith(b"media-types_1.deb")
    assert set(taken) | {SUMS, SIGNATURE, KEY} == set(members(bundle)) | {"manifest.json"}


def test_refuses_a_byte_changed_anywhere(bundle: bytes, signer: SoftwareSigner) -> None:
    contents = members(bundle)
    spots = set(range(0, len(bundle), 61)) | set(range(512)) | {len(bundle) - 1}
    # Every member, header, padding and the end are met; and in each the last byte.
    assert len(spots) > len(contents) * 10
    for at in sorted(spots):
        changed = bytearray(bundle)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises((Refused, IntegrityFailure)):
            judged(bytes(changed), signer.public)


def test_refuses_one_that_was_cut_off_or_goes_on(bundle: bytes, signer: SoftwareSigner) -> None:
    for length in [*range(0, len(bundle), 509), len(bundle) - 512, len(bundle) - 1]:
        with pytest.raises(Malformed):
            judged(bundle[:length], signer.public)
    for more in (b"\0", bundle):
        with pytest.raises(Malformed, match="follows its end"):
            judged(bundle + more, signer.public)


def test_refuses_another_key_whatever_it_signs(bundle: bytes, signer: SoftwareSigner) -> None:
    thief, contents = release_key(), members(bundle)
    contents[BEGIN] = b"#!/bin/sh\necho mine\n"
    forged = signed_again(contents | {KEY: pem(thief.public)}, thief)

    with pytest.raises(UnknownReleaseKey, match="which is not known here"):
        judged(forged, signer.public)
    with pytest.raises(SignatureInvalid):
        judged(signed_again(contents, thief), signer.public)
    # The control: it is trust alone that refuses it.
    assert judged(forged, thief.public)[1][BEGIN] == b"#!/bin/sh\necho mine\n"


def test_refuses_a_signature_over_something_else(bundle: bytes, signer: SoftwareSigner) -> None:
    contents = members(bundle)
    for label in (Label.BACKUP, Label.HOST_STATE):
        signature = sign_detached(signer, label, contents[SUMS])
        with pytest.raises(SignatureInvalid):
            judged(packed(contents | {SIGNATURE: signature}), signer.public)


@pytest.mark.parametrize("change", ["exchanged", "left out", "slipped in", "another place"])
def test_refuses_members_that_are_not_those_listed(change: str, bundle: bytes, signer: SoftwareSigner) -> None:
    contents = members(bundle)
    if change == "exchanged":
        contents[BEGIN] = contents["manifest.json"]
    elif change == "left out":
        del contents["site/ct2.toml"]
    elif change == "slipped in":
        contents["packages/zz.deb"] = b""
    else:
        contents["site/other.toml"] = contents.pop("site/ct2.toml")

    with pytest.raises(BundleAltered):
        judged(packed(contents), signer.public)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/cron.d/evil",
        "packages/../evil",
        "site/.",
        "a/b",
        "packages/",
        "packages/x/y",
        "evil\n",
        "",
        ".x",
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, bundle: bytes, signer: SoftwareSigner) -> None:
    with pytest.raises(Malformed):
        Member(name, 0)
    header = tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)
    cut = header_at(bundle, BEGIN)
    with pytest.raises(Malformed):
        judged(bundle[:cut] + header + bundle[cut:], signer.public)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"x"])
def test_knows_ordinary_files_only(kind: bytes, bundle: bytes, signer: SoftwareSigner) -> None:
    info = tarfile.TarInfo("begin.sh")
    info.type, info.linkname = kind, "/etc/shadow"
    with pytest.raises(Malformed):
        judged(info.tobuf(tarfile.USTAR_FORMAT) + bundle, signer.public)


def test_a_bomb_is_refused_by_what_it_says_and_not_unpacked(bundle: bytes, signer: SoftwareSigner) -> None:
    signed = bundle[: header_at(bundle, BEGIN)]
    with pytest.raises(Malformed, match="bytes"):
        judged(signed + Member("zeros", MAX_BYTES).header, signer.public)
    with pytest.raises(Malformed, match="larger than"):
        judged(packed({SUMS: bytes(1 << 20)}), signer.public)
    with pytest.raises(Malformed, match="members"):
        members(packed({f"m{n}": b"" for n in range(MAX_MEMBERS + 1)}))
    assert len(members(packed({f"m{n}": b"" for n in range(MAX_MEMBERS)}))) == MAX_MEMBERS


def test_a_list_that_sha256sum_reads_otherwise_is_refused() -> None:
    line = f"{sha256(b'').hexdigest()}  a\n"
    assert parse_sums(line.encode()) == {"a": line[:64]}

    for text in (line.upper(), line + line, line.replace("  ", " *"), "\\" + line, line[:-1], f"{line}# x\n", "\n"):
        with pytest.raises(Malformed):
            parse_sums(text.encode())


def test_a_key_in_another_encoding_is_another_key(signer: SoftwareSigner) -> None:
    data = pem(signer.public)
    for other in (data + b"\n", b"x" + data, data.replace(b"\n", b"\r\n"), b""):
        with pytest.raises(Malformed):
            parse_pem(other)


def test_what_is_missing_is_named_at_the_office(tmp_path: Path, signer: SoftwareSigner) -> None:
    (tmp_path / "leadglass-agent_0.1.0.deb").write_bytes(b"")
    with pytest.raises(PackagesMissing, match=r"python3.*apt-get download"):
        make(tmp_path, Contents(sorted(tmp_path.glob("*.deb"))), lambda v: Manifest(v, WHEN), signer, field)


def test_what_a_host_keeps_of_a_bundle_is_for_root_alone_and_so_is_what_a_visit_keeps_beside_it(
    tmp_path: Path, signer: SoftwareSigner
) -> None:
    host = Host(tmp_path)
    host.pin([signer.public])

    assert host.keys() == (signer.public,)
    for folder in (host.folder, host.folder.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_enrolment_code_travels_on_the_stick(tmp_path: Path, signer: SoftwareSigner) -> None:
    small_bundle(tmp_path, signer)
    (tmp_path / "ct2.toml").write_text(SITE + 'code = "A1B2"\n')

    with pytest.raises(SiteHoldsCode, match=r"ct2\.toml holds an enrolment code"):
        make(tmp_path, Contents(sorted(tmp_path.glob("*.deb")), [tmp_path / "ct2.toml"]),
             lambda version: Manifest(version, WHEN), signer, field)  # fmt: skip


@given(st.binary(max_size=2048))
def test_whatever_the_bytes_a_parser_refuses_them_by_name(data: bytes) -> None:
    for parse in (members, parse_sums, parse_pem, Manifest.parse):
        with suppress(Malformed):
            parse(data)


@given(st.from_regex(VERSION, fullmatch=True).filter(lambda text: len(text) <= 32), st.datetimes(), st.integers(0, 8))
def test_a_manifest_that_parses_prints_back_unchanged(version: str, made: datetime, count: int) -> None:
    manifest = Manifest(version, made.replace(tzinfo=UTC), (_KEY,) * count)

    assert Manifest.parse(manifest.encode()) == manifest


def test_the_whole_is_a_tar_that_any_tar_reads(bundle: bytes) -> None:
    with tarfile.open(fileobj=BytesIO(bundle)) as archive:
        assert archive.getnames() == list(members(bundle))


def test_going_back_brings_no_release_key_back(bundle: bytes, signer: SoftwareSigner) -> None:
    verified, _ = judged(bundle, signer.public)
    newer = (release_key().public,)

    assert keys_after(newer, verified, Wish(downgrade="0.1.0")) == newer
    assert keys_after((), verified, Wish(downgrade="0.1.0")) == (signer.public,)
    # The control: going on takes the bundle's own.
    assert keys_after(newer, verified, Wish()) == (signer.public,)
