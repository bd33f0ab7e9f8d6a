"""What `leadglass-agent status` shows: read from the folder alone, whether or not an agent is running in it."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from edge_agent.config import AgentFolder, HostConfig, load_enrolment
from edge_agent.database import translated
from edge_agent.enrol.standing import LocalStanding, read_standing
from edge_agent.export_folder.ledger import FolderRow, read_folders
from edge_agent.forward.queue import read_routes
from edge_agent.health.budget import NEVER_LOOKED, read_budget
from edge_agent.log_witness.store import read_said, read_witness
from edge_agent.moving.store import MovedFrom, read_moved
from edge_agent.policy_sync.store import StoredPolicyAltered, read_held, read_in_force
from edge_agent.spool.attempts import count
from edge_agent.spool.catalogue import State, read_amiss, read_counts
from shared import clock
from shared.audit.events import Event
from shared.canonical import Json
from shared.errors import Refused
from shared.fleet.budget import Budget, judge
from shared.fleet.keys import KeyProtection
from shared.fleet.state import RouteState, percent_used

_REFUSALS = (Event.ASSOCIATION_REFUSED, Event.IMAGE_REFUSED, Event.DELIVERY_REFUSED)


@dataclass(frozen=True)
class LocalLayer:
    """Versions of one layer's policy; `in_force` is what an agent that starts here acts by. 0: none."""

    layer: str
    accepted: int
    in_force: int


@dataclass(frozen=True)
class LocalStatus:
    host: str
    asset: str
    certificate_expires: datetime
    standing: LocalStanding
    keys: KeyProtection
    layers: tuple[LocalLayer, ...]  # the organisation's first
    isolated: bool
    coming_in: int
    waiting: int
    put_aside: int
    damaged: int  # put aside, or not given by the disk: does not reach the vault by itself
    spool_bytes: int
    spool_quota_bytes: int  # 0: what the disk takes
    captured: int
    delivered: int
    refused: int
    audit_records: int
    audit_waiting: int
    senders_refused: int
    commitments_waiting: int
    receipts_in_doubt: int  # of a centre that was put back to an older state, and that it was not asked about yet
    openable_here: int
    routes: tuple[RouteState, ...]
    export_folders: tuple[FolderRow, ...]
    moved: tuple[MovedFrom, ...]
    centre_log_seen: int  # the highest number that this host saw of the centre's log; 0: none
    centre_log: str  # what is wrong with that log, empty where nothing is
    centre_log_checkpoint: str  # the newest of the Merkle log that this host verified, as it was signed, or empty
    witness_key: str  # by which it cosigns those, empty where it never did
    budget: Budget

    @property
    def policy_accepted(self) -> int:
        return self.layers[0].accepted

    @property
    def spool_used_percent(self) -> int | None:
        return percent_used(self.spool_bytes, self.spool_quota_bytes)

    def json(self) -> dict[str, Json]:
        return {
            "host": self.host,
            "asset": self.asset,
            "certificate_expires": clock.text(self.certificate_expires),
            "standing": self.standing.json(),
            "keys": self.keys.value,
            "policy_accepted": self.policy_accepted,
            "policy_layers": [asdict(layer) for layer in self.layers],
            "coming_in": self.coming_in,
            "isolated": self.isolated,
            "waiting": self.waiting,
            "put_aside": self.put_aside,
            "damaged": self.damaged,
            "spool_bytes": self.spool_bytes,
            "spool_quota_bytes": self.spool_quota_bytes,
            "spool_used_percent": self.spool_used_percent,
            "captured": self.captured,
            "delivered": self.delivered,
            "refused": self.refused,
            "audit_records": self.audit_records,
            "audit_waiting": self.audit_waiting,
            "senders_refused": self.senders_refused,
            "commitments_waiting": self.commitments_waiting,
            "receipts_in_doubt": self.receipts_in_doubt,
            "openable_on_this_host": self.openable_here,
            "routes": [route.json() for route in self.routes],
            "export_folders": [asdict(folder) for folder in self.export_folders],
            "moved": [asdict(moved) for moved in self.moved],
            "centre_log_seen": self.centre_log_seen,
            "centre_log": self.centre_log,
            "centre_log_checkpoint": self.centre_log_checkpoint,
            "witness_key": self.witness_key,
            "budget": {"verdict": judge(self.budget).verdict.value, **self.budget.json()},
        }


@dataclass(frozen=True)
class _Remembered:
    """What the agent's database says; where there is none yet, nothing has happened."""

    standing: LocalStanding
    layers: tuple[LocalLayer, ...]
    quota: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    records: int = 0
    acknowledged: int = 0
    senders: int = 0
    commitments: int = 0
    in_doubt: int = 0
    openable: int = 0
    routes: tuple[RouteState, ...] = ()
    folders: tuple[FolderRow, ...] = ()
    moved: tuple[MovedFrom, ...] = ()
    isolated: bool = False
    spooled: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    damaged: int = 0
    log: tuple[int, str] = (0, "")
    witness: tuple[str, str] = ("", "")
    budget: Budget = NEVER_LOOKED


def read_status(folder: AgentFolder) -> LocalStatus:
    """Raises NotEnrolled, IdentityUnreadable, Malformed, DatabaseUnavailable, DatabaseDamaged."""
    enrolment = load_enrolment(folder)
    # Before the database: an image leaves here once it stands there, so it is seen in one of them at least.
    coming_in = count(folder.spool / "attempts")
    kept = _remembered(folder, enrolment.config)
    return LocalStatus(
        host=str(enrolment.config.host_id),
        asset=enrolment.config.asset,
        certificate_expires=enrolment.tls_certificate.not_valid_after_utc,
        standing=kept.standing,
        keys=enrolment.config.keys,
        layers=kept.layers,
        isolated=kept.isolated,
        coming_in=coming_in,
        waiting=kept.spooled.get(State.WAITING, (0, 0))[0],
        put_aside=kept.spooled.get(State.PUT_ASIDE, (0, 0))[0],
        damaged=kept.damaged,
        spool_bytes=sum(size for state, (_, size) in kept.spooled.items() if state != State.GONE),
        spool_quota_bytes=kept.quota,
        captured=kept.counts.get(Event.IMAGE_CAPTURED.value, 0),
        delivered=kept.counts.get(Event.IMAGE_DELIVERED.value, 0),
        refused=sum(kept.counts.get(event.value, 0) for event in _REFUSALS),
        audit_records=kept.records,
        audit_waiting=kept.records - kept.acknowledged,
        senders_refused=kept.senders,
        commitments_waiting=kept.commitments,
        receipts_in_doubt=kept.in_doubt,
        openable_here=kept.openable,
        routes=kept.routes,
        export_folders=kept.folders,
        moved=kept.moved,
        centre_log_seen=kept.log[0],
        centre_log=kept.log[1],
        centre_log_checkpoint=kept.witness[0],
        witness_key=kept.witness[1],
        budget=kept.budget,
    )


def _remembered(folder: AgentFolder, config: HostConfig) -> _Remembered:
    """Raises DatabaseUnavailable, DatabaseDamaged."""
    if not folder.database.exists():
        return _Remembered(read_standing(None, folder), tuple(LocalLayer(layer, 0, 0) for layer in config.layers))
    with translated(), closing(sqlite3.connect(f"{folder.database.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")  # all of one moment
        return _read(connection, folder, config)


def _read(connection: sqlite3.Connection, folder: AgentFolder, config: HostConfig) -> _Remembered:
    layers, quota = _policy(connection, config)
    (records,) = connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()
    (acknowledged,) = connection.execute("SELECT seq FROM acknowledged").fetchone()
    return _Remembered(
        standing=read_standing(connection if _has(connection, "standing") else None, folder),
        layers=layers,
        quota=quota,
        counts=dict(connection.execute("SELECT event, n FROM tally").fetchall()),
        records=records,
        acknowledged=acknowledged,
        senders=_number(connection, "senders_refused", "SELECT n FROM senders_refused"),
        commitments=_number(connection, "commitment_request", "SELECT count(*) FROM commitment_request"),
        in_doubt=_number(connection, "receipt_in_doubt", "SELECT count(*) FROM receipt_in_doubt"),
        openable=_number(connection, "forward_box", "SELECT count(*) FROM forward_box"),
        routes=read_routes(connection) if _has(connection, "forward") else (),
        folders=read_folders(connection),
        moved=read_moved(connection),
        isolated=bool(_number(connection, "isolation", "SELECT isolated FROM isolation")),
        spooled=read_counts(connection),
        damaged=read_amiss(connection),
        log=read_said(connection) if _has(connection, "log_checkpoint") else (0, ""),
        witness=read_witness(connection) if _has(connection, "log_cosigner") else ("", ""),
        budget=read_budget(connection) if _has(connection, "budget") else NEVER_LOOKED,
    )


def _policy(connection: sqlite3.Connection, config: HostConfig) -> tuple[tuple[LocalLayer, ...], int]:
    """Return each layer, and the spool's quota; as the agent, which has none in force where its bytes are altered."""

    def read(query: str, values: Sequence[object]) -> list[Any]:
        return connection.execute(query, values).fetchall()

    try:
        found = read_in_force(read, config.layers, config.host_id)
    except (StoredPolicyAltered, Refused):
        found = None
    held, in_force = read_held(read, config.layers), found.versions if found is not None else {}
    layers = tuple(LocalLayer(layer, held.get(layer, 0), in_force.get(layer, 0)) for layer in config.layers)
    return layers, found.policy.spool_quota_bytes if found is not None else 0


def _number(connection: sqlite3.Connection, table: str, query: str) -> int:
    """Return what `query` gives, 0 where an agent of before the table was the last to run here, or none did yet."""
    return int(connection.execute(query).fetchone()[0]) if _has(connection, table) else 0


def _has(connection: sqlite3.Connection, table: str) -> bool:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    return known.fetchone() is not None
