"""Judges an archive of the audit log from the file alone (docs/formats/audit-archive.md).

The one thing to trust is the certificate of the authority's root. Files are read where they lie in the archive, one at
a time, and nothing is written or unpacked.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from provisioning.verify.certificate import check_issuer, check_purpose, evidence_key, parse_certified
from provisioning.verify.checks import Check, State, failures, judged, not_evaluated
from provisioning.verify.witnesses import Quorum, judge_quorum
from shared import canonical
from shared.audit.archive import manifest as parts
from shared.audit.archive.container import ContainerAltered, Member, content, pieces, read_members
from shared.audit.archive.manifest import Listed, Manifest, verify_manifest
from shared.audit.batch import AuditAltered
from shared.audit.centre_key import verify_centre_key
from shared.audit.question import BLIND
from shared.audit.record import MAX_PUBLIC_BYTES, MAX_SEALED_BYTES, SALT_BYTES, AuditRecord, leaf_hash, verify_private
from shared.audit.tlog.checkpoint import TreeHead, number, verify_checkpoint
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.log_key import LogKeyOffer, verify_log_key
from shared.audit.tlog.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.audit.tlog.note import Note
from shared.audit.tlog.proof_text import MAX_CHARS as MAX_PROOF_BYTES
from shared.audit.tlog.proof_text import ProofText
from shared.audit.tlog.proofs import MAX_HASHES, verify_consistency
from shared.audit.tlog.proofs import verify_inclusion as verify_path
from shared.audit.tlog.tree import HASH_BYTES
from shared.custody.statement import LogProof, verify_log_proof
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed
from shared.fields import decode_base64
from shared.identity import KeyId
from shared.signing import EvidencePublicKey, signing_key_id

_MAX_SIGNED_BYTES = 32 << 20
_MAX_PEM_BYTES = 16_384
_OWN = {parts.MANIFEST, parts.SIGNED}
_SOURCES = "signed by their sources"
_README = {"README.md", "README.zh-CN.md"}


@dataclass(frozen=True)
class ArchiveReport:
    checks: tuple[Check, ...]
    manifest: Manifest | None
    conclusion: str

    @property
    def ok(self) -> bool:
        return not failures(self.checks) and self.manifest is not None and _unsigned(self.checks) is None

    def lines(self) -> list[str]:
        """Say what was asked, as people read it."""
        if self.manifest is None:
            return []
        asked = ", ".join(f"{name} {value}" for name, value in self.manifest.question.json().items()) or "everything"
        return [f"asked by {self.manifest.by}: {asked}; found {len(self.manifest.records)}"]


class _Files:
    """What is in the archive, by name; each file is read when it is asked for."""

    def __init__(self, file: BinaryIO, members: tuple[Member, ...]) -> None:
        self._file, self._members = file, {member.name: member for member in members}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._members)

    def read(self, name: str, most: int) -> bytes:
        """Raises ContainerAltered: it is missing, or larger than `most`."""
        if name not in self._members:
            raise ContainerAltered(f"{name} is missing")
        return content(self._file, self._members[name], most)

    def text(self, name: str, most: int) -> str:
        return self.read(name, most).decode(errors="replace")

    def digest(self, name: str) -> tuple[int, bytes]:
        digest = sha256()
        for piece in pieces(self._file, self._members[name]):
            digest.update(piece)
        return self._members[name].size_bytes, digest.digest()


def judge_archive(file: BinaryIO, trust: Trust, kept: str | None = None, quorum: Quorum | None = None) -> ArchiveReport:
    """Judge an archive, and that its log goes on from a checkpoint that the reader `kept`.

    With a `quorum`, the checkpoint of the archive or one that it goes on from has to be cosigned by it.
    Raises Malformed: it is no archive.
    """
    try:
        files = _Files(file, read_members(file))
    except ContainerAltered as exc:
        return _report([judged("container", False, exc.why)], None)
    checks = [judged("container", True, f"{len(files.names)} files, and nothing between them")]
    manifest, found = _manifest(files, trust)
    checks.append(found)
    if manifest is None:
        return _report(checks, None)
    checks.append(_attempted("files", lambda: _verify_files(files, manifest)))
    key, found = _log_key(files, trust)
    checks.append(found)
    head, found = _head(files, manifest, key)
    checks.append(found)
    if head is None or key is None:
        unjudged = [not_evaluated("inclusion", "the checkpoint above the records does not hold")]
        return _report([*checks, *unjudged], manifest)
    checks.append(_attempted("inclusion", lambda: _verify_records(files, manifest, head)))
    checks.append(_kept(files, head, key, kept))
    checks.append(_cosigned(files, manifest, head, key))
    if quorum is not None:
        checks.append(judge_quorum(quorum, _proved(files, head, key)))
    checks.append(_attempted("private parts", lambda: _verify_private(files, manifest)))
    checks.append(_sources(files, manifest, trust))
    checks.append(_attempted("question", lambda: _verify_question(files, manifest)))
    return _report(checks, manifest)


def _manifest(files: _Files, trust: Trust) -> tuple[Manifest | None, Check]:
    try:
        offer = LogKeyOffer.parse(files.read(parts.KEY, 64 << 10))
        encoded = files.read(parts.MANIFEST, parts.MAX_MANIFEST_BYTES)
        signed = files.read(parts.SIGNED, parts.MAX_SIGNED_BYTES)
        verify_manifest(encoded, signed, verify_centre_key(offer.certificate, trust))
        manifest = Manifest.parse(encoded)
    except (Malformed, IntegrityFailure) as exc:
        return None, judged("manifest", False, str(exc))
    return manifest, judged("manifest", True, f"signed by the centre: {len(manifest.records)} records")


def _verify_files(files: _Files, manifest: Manifest) -> str:
    listed = {one.name: one for one in manifest.files}
    if len(listed) != len(manifest.files) or files.names - _OWN != set(listed):
        odd = sorted((files.names - _OWN) ^ set(listed)) or ["a file is listed twice"]
        raise ContainerAltered(f"the manifest and the files differ: {odd[0]}")
    wanted = _README | {parts.CHECKPOINT, parts.KEY}
    for one in manifest.records:
        wanted |= {one.file("records"), one.file("proofs")} | ({one.signed} if one.signed else set())
        wanted |= {one.file("private"), one.file("salts")} if one.private == parts.OPENED else set()
    for folder in (parts.KEPT, parts.COSIGNED):
        earlier = {f"{folder}/checkpoint", f"{folder}/consistency"}
        wanted |= earlier if earlier & set(listed) else set()
    rest = {name for name in set(listed) - wanted if not name.startswith("certificates/")}
    if not wanted <= set(listed) or rest:
        odd = sorted((wanted - set(listed)) or rest)
        raise ContainerAltered(f"{odd[0]} belongs to no record, or is missing")
    for name, file in listed.items():
        if files.digest(name) != (file.size_bytes, file.sha256):
            raise ContainerAltered(f"{name} is not what the manifest says")
    return f"{len(listed)}, all that the manifest lists, by their SHA-256"


def _log_key(files: _Files, trust: Trust) -> tuple[NoteKey | None, Check]:
    try:
        offer = LogKeyOffer.parse(files.read(parts.KEY, 64 << 10))
        key = verify_log_key(offer.statement, verify_centre_key(offer.certificate, trust))
    except (Malformed, IntegrityFailure) as exc:
        return None, judged("log key", False, str(exc))
    return key, judged("log key", True, f"{key.vkey}, vouched for by a certificate of the authority")


def _head(files: _Files, manifest: Manifest, key: NoteKey | None) -> tuple[TreeHead | None, Check]:
    if key is None:
        return None, not_evaluated("checkpoint", "no key to judge it by")
    try:
        head = verify_checkpoint(files.text(parts.CHECKPOINT, MAX_NOTE_BYTES), [key])
    except (Malformed, IntegrityFailure) as exc:
        return None, judged("checkpoint", False, str(exc))
    if (head.origin, head.size) != (manifest.origin, manifest.size):
        return None, judged("checkpoint", False, "it is not the one that the manifest is about")
    return head, judged("checkpoint", True, f"signed: {head.size} entries, root {head.root.hex()}")


def _verify_records(files: _Files, manifest: Manifest, head: TreeHead) -> str:
    seen = set[int]()
    for one in manifest.records:
        public = files.read(one.file("records"), MAX_PUBLIC_BYTES)
        record = AuditRecord.parse(public)
        proof = ProofText.parse(files.text(one.file("proofs"), MAX_PROOF_BYTES))
        if (record.source, record.seq) != (one.source, one.seq) or proof.index != one.entry or one.entry in seen:
            raise ContainerAltered(f"{one.file('records')} is another record than the manifest says")
        if proof.checkpoint != files.text(parts.CHECKPOINT, MAX_NOTE_BYTES):
            raise ContainerAltered(f"{one.file('proofs')} is of another checkpoint")
        verify_path(leaf_hash(public), proof.index, head.size, proof.path, head.root)
        seen.add(one.entry)
    return f"{len(seen)} records, each by its own bytes"


def _kept(files: _Files, head: TreeHead, key: NoteKey, kept: str | None) -> Check:
    name = "kept checkpoint"
    if f"{parts.KEPT}/checkpoint" not in files.names:
        without = "the archive was made without one"
        if kept is None:
            return not_evaluated(name, without)
        # Whoever rewrote the log would leave it out.
        return judged(name, False, f"{without}, so nothing leads from yours to it; ask for one with yours (--kept)")

    def judge() -> str:
        _, older = _earlier(files, parts.KEPT, head, key)
        if kept is not None and verify_checkpoint(kept, [key]) != older:
            raise ContainerAltered("the archive goes on from another checkpoint than the one that you kept")
        return f"the log goes on from {older.size} entries" + ("" if kept else "; compare it with one that you kept")

    return _attempted(name, judge)


def _cosigned(files: _Files, manifest: Manifest, head: TreeHead, key: NoteKey) -> Check:
    name = "cosigned checkpoint"
    if f"{parts.COSIGNED}/checkpoint" not in files.names:
        return not_evaluated(name, "no witness had cosigned one when the archive was made")

    def judge() -> str:
        note, older = _earlier(files, parts.COSIGNED, head, key)
        names = ", ".join(sorted({one.name for one in Note.parse(note).signatures} - {key.name}))
        count = sum(one.entry < older.size for one in manifest.records)
        said = f"{count} of the records are below the {older.size} entries that it is of, as {names or 'nobody'} saw"
        return said + "; whose keys these are, say with --witness"

    return _attempted(name, judge)


def _proved(files: _Files, head: TreeHead, key: NoteKey) -> list[tuple[str, TreeHead]]:
    """Return the checkpoints that are proved to be of this log."""
    proved = [(files.text(parts.CHECKPOINT, MAX_NOTE_BYTES), head)]
    for folder in (parts.KEPT, parts.COSIGNED):
        with suppress(Malformed, IntegrityFailure):
            proved.append(_earlier(files, folder, head, key))
    return proved


def _earlier(files: _Files, folder: str, head: TreeHead, key: NoteKey) -> tuple[str, TreeHead]:
    """Return an earlier checkpoint of the archive. Raises what says that the log does not go on from it."""
    note = files.text(f"{folder}/checkpoint", MAX_NOTE_BYTES)
    older = verify_checkpoint(note, [key])
    size, path = _consistency(files.text(f"{folder}/consistency", 64 << 10))
    if size != older.size:
        raise ContainerAltered(f"{folder}/consistency is of another checkpoint")
    verify_consistency(older.size, head.size, path, older.root, head.root)
    return note, older


def _consistency(text: str) -> tuple[int, list[bytes]]:
    first, *lines = text.split("\n")
    if not first.startswith("old ") or not lines or lines.pop() or len(lines) > MAX_HASHES:
        raise Malformed("consistency proof", "expected `old` and a size, then hashes, each on a line")
    path = [decode_base64(line, "consistency proof", HASH_BYTES) for line in lines]
    return number(first.removeprefix("old "), "consistency proof"), path


def _verify_private(files: _Files, manifest: Manifest) -> str:
    opened = 0
    for one in manifest.records:
        record = AuditRecord.parse(files.read(one.file("records"), MAX_PUBLIC_BYTES))
        if (record.commitment is None) != (one.private == parts.NONE):
            raise ContainerAltered(f"the manifest says of {one.file('records')} what the record does not")
        if one.private == parts.OPENED:
            salt = files.text(one.file("salts"), 2 * SALT_BYTES)
            private = files.read(one.file("private"), MAX_SEALED_BYTES)
            verify_private(record, _salt(salt) + private)
            opened += 1
    count = {state: sum(one.private == state for one in manifest.records) for state in _STATES}
    told = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    return f"{opened} opened, each what its record committed to" + (f"; as the centre says: {told}" if told else "")


_STATES = (parts.SEALED, parts.ERASED, parts.NOT_OPENABLE)


def _salt(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise Malformed("salt", "expected hex digits") from exc


def _sources(files: _Files, manifest: Manifest, trust: Trust) -> Check:
    name = _SOURCES
    unsigned = [one for one in manifest.records if one.signed is None]
    together = dict[str, list[Listed]]()
    for one in manifest.records:
        if one.signed is not None:
            together.setdefault(one.signed, []).append(one)
    try:
        keys = _keys(files, trust)
        for signed, listed in together.items():
            _verify_signed(files, signed, listed, keys)
    except (Malformed, IntegrityFailure) as exc:
        return judged(name, False, str(exc))
    if unsigned:
        return not_evaluated(name, f"of {len(unsigned)} records the archive has no statement of their source")
    return judged(name, True, f"{len(manifest.records)} records, by {len(keys)} certified keys; dates are not judged")


def _keys(files: _Files, trust: Trust) -> Mapping[KeyId, tuple[str, EvidencePublicKey]]:
    """Return the keys of sources that the authority certified. Raises ContainerAltered: one that it did not."""
    keys = dict[KeyId, tuple[str, EvidencePublicKey]]()
    for name in sorted(name for name in files.names if name.startswith("certificates/")):
        certified = parse_certified(files.read(name, _MAX_PEM_BYTES), name)
        source = name.removeprefix("certificates/").rpartition("-")[0]
        bad = failures([check_purpose(certified.certificate, source), check_issuer(certified, trust)])
        if bad:
            raise ContainerAltered(f"{name}: {bad[0].detail}")
        key = evidence_key(certified.certificate)
        keys[key.key_id] = source, key
    return keys


def _verify_signed(
    files: _Files, name: str, listed: list[Listed], keys: Mapping[KeyId, tuple[str, EvidencePublicKey]]
) -> None:
    """Raises what says that a source did not sign these records, of one statement."""
    proof = LogProof.parse(canonical.parse(files.read(name, _MAX_SIGNED_BYTES), name))
    known = keys.get(signing_key_id(proof.statement))
    if known is None or any(one.source != known[0] for one in listed):
        raise ContainerAltered(f"{name}: no certified key of that source signed it")
    first = verify_log_proof(proof, *known)
    for one in listed:
        at = one.seq - first.seq
        if not 0 <= at < len(proof.records) or proof.records[at] != files.read(one.file("records"), MAX_PUBLIC_BYTES):
            raise AuditAltered(one.source, one.seq, "it is not what its source signed")


def _verify_question(files: _Files, manifest: Manifest) -> str:
    before = (-(2**63), -1)
    for one in manifest.records:
        record = AuditRecord.parse(files.read(one.file("records"), MAX_PUBLIC_BYTES))
        here = record.happened, one.entry
        if not manifest.question.matches(record) or one.entry >= manifest.asked_at or here <= before:
            raise ContainerAltered(f"{one.file('records')} does not answer the question, or stands in another order")
        before = here
    blind = [name for name in BLIND if getattr(manifest.question, name) is not None]
    told = f", but for {' and '.join(blind)}, which is the centre's word" if blind else ""
    return f"every record answers it{told}"


def _attempted(name: str, judge: Callable[[], str]) -> Check:
    try:
        return Check(name, State.PASSED, judge())
    except (Malformed, IntegrityFailure) as exc:
        return judged(name, False, str(exc))


def _unsigned(checks: Sequence[Check]) -> Check | None:
    return next((check for check in checks if check.name == _SOURCES and not check.holds), None)


def _report(checks: list[Check], manifest: Manifest | None) -> ArchiveReport:
    if failed := failures(checks):
        return ArchiveReport(tuple(checks), manifest, f"NOT PROVEN: {failed[0].name}: {failed[0].detail}")
    count = len(manifest.records) if manifest else 0
    if unsigned := _unsigned(checks):
        said = f"NOT PROVEN: {unsigned.name}: {unsigned.detail}, so they are the centre's word alone"
        return ArchiveReport(tuple(checks), manifest, said)
    open_points = [check.name for check in checks if check.state is State.NOT_EVALUATED]
    said = (
        f"Proven: these {count} records are in the centre's log as they stand here, and the centre made this archive. "
        "Not proven: that no other record answers the question; that others are shown the same log; that clocks were "
        f"right{''.join(f'; the {name} (not evaluated)' for name in open_points)}."
    )
    return ArchiveReport(tuple(checks), manifest, said)
