"""Who saw what of the Merkle log: what each witness cosigned last, whether this log has it, and who fell silent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.checkpoints import rows as loss_rows
from control_plane.checkpoints import trees
from control_plane.db.models import Host, LogCosignature, LogLoss, LogRound, LogWitness, TreeLoss
from control_plane.db.transactions import snapshot
from control_plane.settings import Witnessing
from control_plane.tlog import rows
from control_plane.witnesses import rounds
from shared import clock as clocks
from shared.audit.tlog.checkpoint import TreeHead, verify_checkpoint
from shared.audit.tlog.keys import NoteKey, NoteSigner
from shared.audit.tlog.note import Note
from shared.audit.tlog.witness_key import witness_name
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.state import verify_state
from shared.identity import HostId
from shared.signing import EvidencePublicKey

_MISSED_ROUNDS = 6


class NothingCosigned(Refused):
    def __init__(self) -> None:
        super().__init__("no witness has cosigned a checkpoint that is kept; `audit witnesses` shows who there is")


@dataclass(frozen=True)
class Seen:
    """One witness. `consistent` is None where it has cosigned nothing; `own` is a host's own word."""

    name: str
    asset: str
    vkey: str
    size: int
    root: bytes
    cosigned: datetime | None
    heard: datetime | None
    consistent: bool | None
    why: str
    own: str
    silent: bool

    def json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "asset": self.asset,
            "vkey": self.vkey,
            "size": self.size,
            "root": self.root.hex(),
            "cosigned": None if self.cosigned is None else clocks.text(self.cosigned),
            "heard": None if self.heard is None else clocks.text(self.heard),
            "consistent": self.consistent,
            "why": self.own or self.why,
            "silent": self.silent,
        }


class _Roots:
    """Roots of this log by size, each found once: most witnesses saw the same."""

    def __init__(self, session: Session) -> None:
        self._session, self._found = session, dict[int, bytes | None]()

    def at(self, size: int) -> bytes | None:
        if size not in self._found:
            self._found[size] = trees.root_at(self._session, size)
        return self._found[size]


class WitnessShowing:
    """`own` returns the key by which this centre cosigns the logs of others, where it does.

    `journal` is the key by which its own log says who accepted a loss.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        key: NoteKey,
        settings: Witnessing,
        own: Callable[[], NoteSigner],
        journal: EvidencePublicKey,
        clock: Clock,
    ) -> None:
        self._database, self._key, self._settings, self._own, self._clock = database, key, settings, own, clock
        self._journal = journal

    def report(self) -> dict[str, Json]:
        """Return what every witness saw, and what of that this log does not have. Raises DatabaseUnavailable."""
        own = self._own().public.vkey if self._settings.logs else ""
        with snapshot(self._database) as session:
            size, _, _ = rows.head(session)
            root = trees.root_at(session, size) or b""
            witnesses = list(self._seen(session))
            lost = [
                *(_tree_loss(one, trees.accepted_by(session, one, self._journal)) for one in trees.losses(session)),
                *(_loss(one, loss_rows.accepted_by(session, one, self._journal)) for one in loss_rows.losses(session)),
            ]
        return {
            "log": {"origin": self._key.name, "vkey": self._key.vkey, "size": size, "root": root.hex()},
            "own_vkey": own,
            "others": [one.name for one in self._settings.logs],
            "witnesses": [one.json() for one in witnesses],
            "findings": list(lost),
        }

    def cosigned(self) -> str:
        """Return the newest checkpoint that as many witnesses cosigned as any that is kept. Raises NothingCosigned."""
        with snapshot(self._database) as session:
            kept = [one for one in rounds.kept(session) if self._is_ours(session, one)]
            shown = [(_lines(session, one.size), one) for one in kept]
            if not any(lines for lines, _ in shown):
                raise NothingCosigned
            lines, best = max(shown, key=lambda one: (len(one[0]), one[1].begun))
            return best.note + "".join(lines)

    def gaps(self) -> list[str]:
        """Say who of those that ought to hold the log does not, in words a person can act on."""
        with snapshot(self._database) as session:
            return [said for one in self._seen(session) for said in _said(one)]

    def _seen(self, session: Session) -> Iterator[Seen]:
        roots = _Roots(session)
        held = {row.name: row for row in session.scalars(select(LogWitness).order_by(LogWitness.name))}
        for host in session.scalars(select(Host).order_by(Host.asset)):
            name = witness_name(HostId.parse(host.host_id))
            if host.active and (name in held or host.state is not None):
                yield self._one(roots, name, held.pop(name, None), host)
        for asked in self._settings.asked:
            yield self._one(roots, asked.key.name, held.pop(asked.key.name, None), None)
        # What others saw, who are hosts or asked no more, still holds against the log.
        yield from (self._one(roots, name, row, None) for name, row in held.items() if not self._holds(roots, row))

    def _one(self, roots: _Roots, name: str, row: LogWitness | None, host: Host | None) -> Seen:
        asset = "" if host is None else host.asset
        own = "" if host is None else _own_word(host)
        if row is None or not row.line:
            vkey, why = ("", "") if row is None else (row.vkey, row.said)
            return Seen(name, asset, vkey, 0, b"", None, None, False if own else None, why, own, silent=True)
        holds = self._holds(roots, row)
        why = row.said or ("" if holds else f"it cosigned {row.size} entries, root {row.root.hex()}, not of this log")
        at, consistent = datetime.fromtimestamp(row.cosigned, UTC), holds and not own
        return Seen(
            name, asset, row.vkey, row.size, row.root, at, row.heard, consistent, why, own, self._is_silent(row)
        )

    def _holds(self, roots: _Roots, row: LogWitness) -> bool:
        """Return whether this log is the one that a witness signed; a row that was changed proves nothing."""
        head = TreeHead(self._key.name, row.size, row.root)
        try:
            note = Note.parse(f"{head.text()}\n{row.line}")
            note.verify([NoteKey.parse(row.vkey)])
        except (Malformed, IntegrityFailure):
            return False
        return roots.at(row.size) == row.root

    def _is_ours(self, session: Session, shown: LogRound) -> bool:
        try:
            head = verify_checkpoint(shown.note, [self._key])
        except (Malformed, IntegrityFailure):
            return False
        return trees.root_at(session, head.size) == head.root

    def _is_silent(self, row: LogWitness) -> bool:
        after = timedelta(seconds=max(self._settings.round_s, 60) * _MISSED_ROUNDS)
        return row.heard is None or self._clock.now() - row.heard > after


def _own_word(host: Host) -> str:
    """Return what a host says of the log in its last report, signed by itself."""
    if host.state is None:
        return ""
    try:
        return verify_state(host.state, EvidencePublicKey.parse(host.evidence_spki)).centre_log
    except (Refused, IntegrityFailure):
        return ""


def _said(one: Seen) -> Iterator[str]:
    if one.asset:
        if one.why:
            yield f"centre's log: {one.asset} as witness: {one.why}"
    elif one.why or one.silent:
        last = f"it cosigned last at {clocks.text(one.heard)}" if one.heard else "it has never cosigned"
        yield f"centre's log: witness {one.name}: {one.why or 'silent'}; {last}"


def _lines(session: Session, size: int) -> Sequence[str]:
    theirs = select(LogCosignature.line).where(LogCosignature.size == size).order_by(LogCosignature.name)
    return session.scalars(theirs).all()


def _tree_loss(loss: TreeLoss, accepted_by: str | None) -> dict[str, Json]:
    return {"who": loss.seen_by, "what": trees.words(loss), "accepted_by": accepted_by}


def _loss(loss: LogLoss, accepted_by: str | None) -> dict[str, Json]:
    what = f"number {loss.seq} of the centre's own records, leaf {loss.leaf.hex()}: the log {loss.kind}"
    return {"who": loss.seen_by, "what": what, "accepted_by": accepted_by}
