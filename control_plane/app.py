"""Builds the control plane from its parts, opens its doors, and closes them again."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from random import SystemRandom

from apiflask import APIFlask
from apscheduler.schedulers.background import BackgroundScheduler

from control_plane import first_start
from control_plane.audit_log.archiving import Archiving
from control_plane.audit_log.dated_ahead import DatedAhead
from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.finding import AuditFinding
from control_plane.audit_log.following import Following
from control_plane.audit_log.intake import AuditIntake
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.audit_log.reading import AuditReading
from control_plane.audit_log.refused_batches import RefusedBatches
from control_plane.audit_log.room import LogRoom
from control_plane.audit_log.silent_hosts import SilentHosts
from control_plane.backup.restored import mark_of
from control_plane.checkpoints.exchange import CheckpointExchange
from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.checkpoints.guard import IssuingStopped, LogGuard, Marks
from control_plane.checkpoints.mark import MarkFile
from control_plane.coverage.archive import Archives
from control_plane.coverage.compare import Comparison
from control_plane.coverage.runs import CoverageRuns
from control_plane.coverage.showing import CoverageShowing
from control_plane.custody.decoder import Decoder
from control_plane.custody.frames import FrameDigester, FrameWorker
from control_plane.custody.statements import CustodyStatements
from control_plane.db.engine import close_database, open_database
from control_plane.db.place import url_of
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment import authority
from control_plane.enrolment.code_service import EnrolmentCodes
from control_plane.enrolment.decommissioning import Decommissioning
from control_plane.enrolment.enroller import Enroller, Renewer
from control_plane.enrolment.issuance import Issuance, Why, record_what_was_issued
from control_plane.enrolment.lapsed import LapsedHosts
from control_plane.enrolment.renaming import Renaming
from control_plane.enrolment.replacing import Replacing, code_for_replacement
from control_plane.enrolment.revocation import Revocation, RevokedHosts
from control_plane.enrolment.revoked_file import RevokedFile
from control_plane.enrolment.standings import Standings
from control_plane.enrolment.taking_back import TakingBack
from control_plane.enrolment.tombstones import Lifting
from control_plane.erasure.erased_file import ErasedFile
from control_plane.erasure.erasing import Erasing
from control_plane.erasure.private_parts import PrivateParts
from control_plane.erasure.resealing import Resealing
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.devices import DeviceShowing
from control_plane.fleet.doubts import Doubts
from control_plane.fleet.heard import HeardSince
from control_plane.fleet.overview import Overview
from control_plane.fleet.push import PolicyPush
from control_plane.fleet.reports import VerifiedReports
from control_plane.fleet.states import StateIntake
from control_plane.http.enrolment_door import enrolment_door
from control_plane.http.host_door import MAX_OBJECT_BYTES, HostServices, host_door
from control_plane.http.host_identity import HostIdentities
from control_plane.http.limits import FailureLimit
from control_plane.http.people_door import MAX_BODY_BYTES, people_door
from control_plane.http.people_services import PeopleServices
from control_plane.http.serving import Door
from control_plane.http.tls import TlsIdentity, server_context, tls_identity
from control_plane.keys import store
from control_plane.keys.root import load_root_key
from control_plane.keys.store import KeyStore
from control_plane.moving.grants import SpoolMoves
from control_plane.people.accounts import Accounts
from control_plane.people.certificates import PersonCertificates
from control_plane.people.factors import Factors
from control_plane.people.passwords import Passwords
from control_plane.people.people import People
from control_plane.people.promotion import Promotion
from control_plane.people.provider_sign_in import ProviderSignIn
from control_plane.people.purging import purge
from control_plane.people.security_keys import SecurityKeys
from control_plane.people.sessions import Sessions
from control_plane.people.signing_in import SigningIn
from control_plane.people.tokens import Tokens
from control_plane.people.two_persons import TwoPersons
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.signatories import signatories
from control_plane.policy.simulation.simulation import PolicySimulation
from control_plane.policy.verified import VerifiedPolicy
from control_plane.policy.versions import PolicyVersions
from control_plane.rollout.service import Rollouts
from control_plane.routes.connect import connected
from control_plane.routes.image import ImageSource
from control_plane.routes.intake import RouteIntake
from control_plane.routes.overview import RouteOverview
from control_plane.routes.people import RoutesForPeople
from control_plane.routes.queue import RouteQueue
from control_plane.routes.service import RouteService
from control_plane.sanitize.certifying import CentresWord, Certifying
from control_plane.sanitize.decommissioning import DecommissioningByWipe
from control_plane.sanitize.desk import WipeDesk
from control_plane.sanitize.effective import wipe_policy
from control_plane.sanitize.holds import LiftingHold
from control_plane.settings import Settings
from control_plane.tlog.proofs import LogProofs
from control_plane.tlog.reading import LogReading
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.conflicts import Conflicts
from control_plane.vault.final_losses import FinalLosses
from control_plane.vault.finding import Finder
from control_plane.vault.index_service import IndexService
from control_plane.vault.local import LocalObjectStore
from control_plane.vault.losses import Losses
from control_plane.vault.opening import VaultOpener
from control_plane.vault.receive import VaultIntake
from control_plane.vault.rechecking import PacedRecheck
from control_plane.vault.rows import holds_any
from control_plane.vault.self_test import SelfTestDesk
from control_plane.vault.settling import Settling
from control_plane.witnesses.asking import WitnessAsking, post_to
from control_plane.witnesses.gathering import Gathering
from control_plane.witnesses.rounds import Rounds
from control_plane.witnesses.serving import OthersWitness
from control_plane.witnesses.showing import WitnessShowing
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.clock import Clock
from shared.enrolment.chain import parse_chain
from shared.enrolment.exchange import MAX_BYTES as MAX_ENROLMENT_BYTES
from shared.enrolment.exchange import Doors
from shared.errors import Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.routes.sender import RouteSender, Services
from shared.sanitization.judge import judge

_LOG = logging.getLogger(__name__)
_ROLLOUT_EVERY_S = 5
_LOOK_EVERY_S = 10
_RESEAL_EVERY_S = 30
_WITNESS_EVERY_S = 30
_SILENCE_EVERY_S = 60
_MOST_WRONG_CODES = 60  # a minute, from all addresses
_CENTRE = (Participant("service", CONTROL_PLANE, True),)


class ControlPlane:
    """One process: three doors, one scheduler, and Mosquitto as a child, or a client of a broker that others run."""

    def __init__(self, settings: Settings, clock: Clock, passwords: Passwords | None = None) -> None:
        """Raises NotInitialised, RootKeyMissing, KeyNotAuthentic."""
        first_start.verify_initialised(settings.folders)
        self._settings, self._clock, self._passwords = settings, clock, passwords or Passwords()
        folders = settings.folders
        self._database = open_database(url_of(folders))
        self._keys = KeyStore(self._database, load_root_key(folders.root_key_now), clock)
        self._ca = authority.load(self._database, self._keys, clock)
        self._private = PrivateParts(self._keys)
        self._journal = CentreJournal(
            self._database,
            self._keys.signer(store.JOURNAL),
            Sequencer(self._keys.log_signer()),
            self._private.sealing,
            clock,
        )
        self._log = self._make_log_guard()
        self._issuance = Issuance(self._ca, self._journal, self._log.verify_may_issue, self._log.look)
        self._issue_own()
        self._evidence = EvidenceKeys(self._database, self._ca.trust)
        self._set_up_witnessing()
        self._set_up_vault()
        self._accounts = Accounts(self._database, clock)
        self._security_keys = SecurityKeys(lambda: f"http://localhost:{self._doors['people'].port}")
        self._set_up_policy()
        self._set_up_standings()
        self._codes = EnrolmentCodes(self._database, self._journal, clock, self._ca.fingerprint)
        self._lapsed = LapsedHosts(
            self._database, self._issuance.because(Why.LAPSED), self._evidence, self._journal, clock
        )
        self._silent = SilentHosts(
            self._database, self._journal, clock, lambda: HeardSince(self._policy.acted_by(), clock.now())
        )
        self._following = Following(self._database, self._journal, clock)
        self._erasing = Erasing(self._database, self._journal, self._private, ErasedFile(folders.erased), clock)
        self._two_persons = self._make_two_persons()
        self._commands = FleetCommands(
            self._database, self._journal, clock,
            signatories=partial(signatories, self._policy),
            layers=lambda: [layer.layer for layer in self._policy.published().layers], hint=self._push.hint_command,
        )  # fmt: skip
        self._verified = VerifiedPolicy(self._database, self._keys, self._policy)
        self._wipes = self._make_wipes()
        self._versions = PolicyVersions(self._database, self._verified)
        self._comparisons = self._make_comparisons()
        self._route_queue = RouteQueue(self._database, self._journal, clock)
        self._routes = self._make_routes()
        self._doors: dict[str, Door] = {}
        self._closing = ExitStack()

    def _set_up_witnessing(self) -> None:
        """Make what lets others hold the log to its word: proofs of it, and hosts and other centres that cosign it."""
        witnessing, log_key = self._settings.witnessing, self._journal.sequencer.key
        signed = sign_log_key(self._keys.signer(store.JOURNAL), log_key)
        self._log_offer = lambda: LogKeyOffer(signed, self._shown(store.JOURNAL).decode())
        self._log_proofs = LogProofs(self._database, self._log_offer)
        self._rounds = Rounds(self._database, self._clock, witnessing.round_s)
        self._gathering = Gathering(self._database, self._journal, self._evidence, log_key, self._clock)
        self._asking = WitnessAsking(
            self._database, self._journal, self._rounds, self._gathering, witnessing.asked, post_to()
        )
        own, journal = self._keys.witness_signer, self._keys.signer(store.JOURNAL).public
        self._witnesses = WitnessShowing(self._database, log_key, witnessing, own, journal, self._clock)

    def _set_up_vault(self) -> None:
        self._moves = SpoolMoves(self._database, self._journal, AuditProof(self._database, self._evidence), self._clock)
        self._index = IndexService(self._keys, self._keys.secret(store.BLIND_INDEX))
        with snapshot(self._database) as session:
            is_new = not holds_any(session)
        self._objects = LocalObjectStore(self._settings.folders.objects, is_new=is_new)

    def _set_up_policy(self) -> None:
        """Make what publishes a policy, brings it to hosts step by step, and hears what is in force there."""
        reports = VerifiedReports()
        self._policy = PolicyPublisher(self._database, self._keys, self._journal, self._clock)
        self._rollouts = Rollouts(self._database, self._policy, self._journal, self._clock, reports)
        self._states = StateIntake(self._database, self._journal, self._clock, reports)
        self._push = PolicyPush(
            self._settings, self._policy, self._states, self._ca.trust.pem(),
            broker=self._tls(store.BROKER_TLS), service=self._tls(store.SERVICE_TLS),
            revoked=RevokedHosts(self._database, self._ca, self._issuance.because(Why.STAND_IN)),
        )  # fmt: skip

    def _set_up_standings(self) -> None:
        """Make what says which hosts are let in, and what changes that."""
        revoked = self._settings.folders.revoked
        self._taking_back = TakingBack(
            self._database, self._journal, self._ca.trust, RevokedFile(revoked).read, self._clock
        )
        self._revocation = Revocation(
            self._database, self._journal, self._push.end_session, self._identity_ended, self._taking_back.row_of_lost
        )
        self._standings = Standings(
            self._database, self._journal, self._keys.signer(store.JOURNAL).public,
            RevokedFile(revoked), self._revocation.has_open,
        )  # fmt: skip

    def _make_two_persons(self) -> TwoPersons:
        acts = (
            self._taking_back,
            self._erasing,
            Lifting(self._journal),
            Decommissioning(self._journal, self._revocation.ended),
            Promotion(self._journal, self._clock),
            LiftingHold(self._journal, self._clock, self._push.hint_command),
        )
        return TwoPersons(self._database, self._journal, self._clock, acts)

    def _make_wipes(self) -> WipeDesk:
        return WipeDesk.of(
            self._database, self._journal, self._evidence, self._clock, judge,
            policy_of=lambda host, parts: wipe_policy(self._verified.acted_by(), parts, host),
            signatories=partial(signatories, self._policy), hint=self._push.hint_command,
        )  # fmt: skip

    def _make_certifying(self) -> Certifying:
        def sign(pdf: bytes, reason: str) -> bytes:
            from control_plane.sanitize.pades import Seal, sign_pdf

            chain = parse_chain(self._shown(store.DOCUMENTS), "certificate of documents")
            seal = Seal(self._keys.p256(store.DOCUMENTS), chain, self._settings.time_authority)
            return sign_pdf(pdf, seal, reason, self._clock.now())

        word = CentresWord(
            self._keys.signer(store.JOURNAL), lambda one: self._ca.shown(one).decode(), sign,
            self._log_proofs.of_record,
        )  # fmt: skip
        return Certifying(self._database, self._journal, self._wipes.reading, word, self._clock)

    def _make_log_guard(self) -> LogGuard:
        """Hold the log against the mark first of all: whatever is written to it would be written over what is lost."""
        own, folders = self._keys.signer(store.JOURNAL).public, self._settings.folders
        marks = Marks(MarkFile(folders.log_mark), MarkFile(folders.log_head))
        guard = LogGuard(self._database, self._journal, own, self._journal.sequencer.key, marks, self._clock)
        guard.begin()
        return guard

    def _identity_ended(self) -> None:
        self._standings.keep()
        self._log.look()

    def _issue_own(self) -> None:
        record_what_was_issued(self._database, self._journal, Why.BEFORE_RECORDS)
        try:
            issuer = self._issuance.because(Why.OWN)
            authority.issue_own(self._database, self._ca, issuer, self._keys, self._settings.host)
        except IssuingStopped as exc:
            # Those that there are serve on; the status says what it waits for.
            _LOG.error("certificate.own-not-renewed", extra={"why": str(exc)})

    def start(self) -> None:
        """Open everything; what was opened is closed again when a later part fails."""
        # Before the broker is told whom to keep out.
        self._standings.rebuild()
        if revived := self._erasing.again():
            _LOG.warning("keys.erased-again", extra={"count": revived})
        with ExitStack() as opened:
            self._push.start()
            opened.callback(self._push.stop)
            # All ports are taken before any door answers.
            for door in self._make_doors():
                opened.callback(door.close)
                self._doors[door.name] = door
            self._refresh_policy()
            # By default a job that is begun over a second late, by a busy or a paused machine, is left out this time.
            scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True})
            scheduler.add_job(self._refresh_policy, "interval", hours=1, id="refresh-policy")
            scheduler.add_job(self._revocation.end_open_sessions, "interval", seconds=15, id="end-revoked-sessions")
            scheduler.add_job(self._log.look, "interval", seconds=_LOOK_EVERY_S, id="log-mark")
            scheduler.add_job(self._standings.rebuild, "interval", hours=1, id="standings")
            scheduler.add_job(self._silent.look, "interval", seconds=_SILENCE_EVERY_S, id="silent-hosts")
            scheduler.add_job(self._asking.ask_all, "interval", seconds=_WITNESS_EVERY_S, id="witnesses")
            scheduler.add_job(self._purge, "interval", hours=1, id="purge", next_run_time=self._clock.now())
            resealing = Resealing(self._journal, self._private)
            scheduler.add_job(resealing.step, "interval", seconds=_RESEAL_EVERY_S, id="reseal")
            scheduler.start()
            opened.callback(scheduler.shutdown)
            scheduler.add_job(self._rollouts.step, "interval", seconds=_ROLLOUT_EVERY_S, id="rollouts")
            self._routes.start()
            opened.callback(self._routes.stop)
            self._policy.subscribe(lambda _head, _layers: self._routes.policy_published())
            frames = self._make_frames()
            frames.start()
            opened.callback(frames.stop)
            recheck = PacedRecheck(self._losses(), self._objects)
            recheck.start()
            opened.callback(recheck.stop)
            scheduler.add_job(self._comparisons.run_due, "interval", hours=1, id="coverage")
            opened.callback(self._comparisons.stop)
            self._journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS, _CENTRE))
            for door in self._doors.values():
                door.open()
            self._wipes.intake.judge_what_was_not()
            self._policy.announce()
            self._closing = opened.pop_all()

    def stop(self) -> None:
        """Close what `start` opened, then record it."""
        self._closing.close()
        self._journal.record(Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS, _CENTRE))
        self._log.look()
        close_database(self._database)

    def answers(self) -> bool:
        """Return whether every door answers."""
        return all(door.answers() for door in self._doors.values())

    def addresses(self) -> dict[str, str | int | None]:
        """Where the doors are, and a fresh one-time sign-in link until an administrator can do without one."""
        people = f"http://{self._settings.people_host}:{self._doors['people'].port}"
        link = self._first_link()
        return {
            "people_url": people,
            "sign_in_url": link and f"{people}/sign-in?token={link}",
            "enrol_url": f"https://{self._settings.host}:{self._doors['enrolment'].port}",
            "hosts_url": f"https://{self._settings.host}:{self._doors['hosts'].port}",
            "mqtt_port": self._push.port,
        }

    def _purge(self) -> None:
        in_one_commit(self._database, lambda session: purge(session, self._clock.now()))

    def _first_link(self) -> str | None:
        first = self._accounts.first_administrator()
        if first is None:
            return None
        what = (Subject("person", first),)
        self._journal.record(Happening(Event.LINK_MADE, Action.CREATE, Outcome.SUCCESS, _CENTRE, what))
        return self._accounts.new_link(first)

    def _make_doors(self) -> Iterator[Door]:
        settings, tls = self._settings, self._tls(store.SERVER_TLS)
        any_address = _listen_on(settings.host)
        yield Door(
            "hosts", host_door(self._host_services()), any_address, settings.host_port,
            server_context(tls, client_ca=self._ca.trust.pem()), max_body_bytes=MAX_OBJECT_BYTES, threads=16,
        )  # fmt: skip
        yield Door(
            "enrolment", self._enrolment_door(), any_address, settings.enrol_port, server_context(tls, client_ca=None),
            max_body_bytes=MAX_ENROLMENT_BYTES, most_body_ahead_bytes=MAX_ENROLMENT_BYTES, answers_once=True,
            timeout_s=10,
        )  # fmt: skip
        people = people_door(self._people_services())
        yield Door(
            "people",
            people,
            settings.people_host,
            settings.people_port,
            None,
            max_body_bytes=MAX_BODY_BYTES,
            timeout_s=30,
        )

    def _enrolment_door(self) -> APIFlask:
        enroller = Enroller(
            self._database, self._issuance.because(Why.ENROLMENT), self._journal, self._clock,
            Replacing(self._journal, self._moves, self._revocation.ended),
            sop_hash_secret=self._keys.secret(store.SOP_HASH), policy_root=self._policy.newest_root,
        )  # fmt: skip
        limit = FailureLimit(self._clock, most_overall=_MOST_WRONG_CODES)
        witness = OthersWitness(
            self._database, self._journal, self._settings.witnessing.logs, self._keys.witness_signer, self._clock
        )
        return enrolment_door(
            enroller, self._lapsed, self._taking_back, self._ca, self._where, limit, witness, FailureLimit(self._clock)
        )

    def _host_services(self) -> HostServices:
        return HostServices(
            identities=HostIdentities(
                self._database, self._clock, ForgottenCertificates(self._database, self._journal)
            ),
            vault=self._make_vault_intake(),
            audit=AuditIntake(self._evidence, self._journal, self._clock, self._moves),
            policy=self._policy,
            states=self._states,
            renewer=Renewer(self._database, self._issuance.because(Why.RENEWAL), self._journal),
            commands=self._commands,
            checkpoints=CheckpointExchange(self._database, self._log, self._journal, self._log_offer, self._rounds),
            self_tests=self._make_self_tests(),
            proofs=self._log_proofs,
            wipes=self._wipes.orders,
            wipe_intake=self._wipes.intake,
            gathering=self._gathering,
            losses=self._losses(),
            restored=self._restore_mark(),
        )

    def _restore_mark(self) -> str:
        with snapshot(self._database) as session:
            return mark_of(session)

    def _make_vault_intake(self) -> VaultIntake:
        return VaultIntake(
            self._database,
            self._objects,
            self._evidence,
            self._keys,
            self._index,
            self._journal,
            self._keys.signer(store.RECEIPTS),
            self._clock,
            self._settings.folders.incoming,
            RouteIntake(self._verified, self._route_queue, self._routes.wake),
            self._moves,
            self._losses(),
        )

    def _make_self_tests(self) -> SelfTestDesk:
        return SelfTestDesk(
            self._database,
            self._evidence,
            self._opener(),
            AuditProof(self._database, self._evidence),
            self._journal,
            self._keys.signer(store.JOURNAL),
            lambda: self._shown(store.JOURNAL),
            self._clock,
        )

    def _people_services(self) -> PeopleServices:
        audit = AuditReading(self._database, self._evidence, self._journal, self._private, self._clock)
        asking = AuditFinding(self._database, self._journal, self._private)
        coverage, routes = self._make_coverage(), self._routes_for_people()
        proofs = (self._database, self._journal, self._keys, self._passwords, self._security_keys, self._clock)
        signing_in = SigningIn(*proofs)
        return PeopleServices(
            accounts=self._accounts,
            people=People(self._database, self._journal, self._clock),
            factors=Factors(*proofs),
            signing_in=signing_in,
            sessions=Sessions(self._database, self._journal, self._clock),
            tokens=Tokens(self._database, self._journal, self._clock),
            certificates=self._make_person_certificates(signing_in),
            provider=ProviderSignIn(self._database, self._journal, self._keys, self._security_keys, self._clock),
            overview=self._make_overview(coverage, routes),
            devices=DeviceShowing(self._database, self._policy, self._clock),
            finder=Finder(self._database, self._evidence, self._index, self._conflicts(), self._journal),
            settling=Settling(self._database, self._journal, self._clock),
            final_losses=FinalLosses(self._database, self._journal, self._clock),
            doubts=Doubts(self._database, self._journal, self._clock, self._revocation.close_session),
            commands=self._commands,
            opener=self._opener(),
            custody=CustodyStatements(self._database, self._journal, self._clock),
            policy=self._policy,
            rollouts=self._rollouts,
            versions=self._versions,
            simulation=PolicySimulation(self._database, self._verified, self._clock),
            audit=audit,
            asking=asking,
            following=self._following,
            archiving=self._make_archiving(asking),
            erasing=self._erasing,
            merkle=LogReading(self._database, self._journal, self._log_proofs, self._witnesses),
            coverage=coverage,
            comparisons=self._comparisons,
            routes=routes,
            moves=self._moves,
            revocation=self._revocation,
            log=self._log,
            journal=self._journal,
            codes=self._codes,
            code_for_replacement=partial(code_for_replacement, self._database, self._codes),
            lapsed=self._lapsed,
            taking_back=self._taking_back,
            renaming=Renaming(self._database, self._journal),
            two_persons=self._two_persons,
            wipes=self._wipes,
            certifying=self._make_certifying(),
            decommissioning=DecommissioningByWipe(
                self._database, self._journal, self._keys.signer(store.JOURNAL).public, self._revocation.ended
            ),
            limit=FailureLimit(self._clock),
            tried_in_vain=FailureLimit(self._clock),
        )

    def _make_person_certificates(self, signing_in: SigningIn) -> PersonCertificates:
        return PersonCertificates(
            self._database,
            self._journal,
            self._issuance.because(Why.SIGN_IN),
            self._ca.trust,
            signing_in,
            self._clock,
        )

    def _make_overview(self, coverage: CoverageShowing, routes: RoutesForPeople) -> Overview:
        return Overview(
            self._database,
            self._policy,
            self._push.state,
            self._clock,
            coverage,
            routes,
            self._moves,
            self._versions,
            self._commands,
            self._rollouts,
            lambda: (
                *self._log.gaps(),
                *self._witnesses.gaps(),
                *self._silent.gaps(),
                *DatedAhead(self._database, self._clock).gaps(),
                *RefusedBatches(self._database, self._clock).gaps(),
                *LogRoom(self._database).gaps(),
                *self._standings.gaps(),
                *self._taking_back.gaps(),
            ),
            self._lapsed,
            self._two_persons,
            self._ca,
            self._wipes.showing.gaps,
        )

    def _make_archiving(self, asking: AuditFinding) -> Archiving:
        return Archiving(
            self._database,
            asking,
            self._private,
            self._keys.signer(store.JOURNAL),
            self._journal.sequencer.key,
            self._log_proofs.offer,
            self._witnesses.cosigned,
            self._clock,
        )

    def _make_coverage(self) -> CoverageShowing:
        return CoverageShowing(
            self._database, self._keys, self._journal, AuditProof(self._database, self._evidence), self._comparisons,
            self._verified.with_modalities_of_parts, self._clock,
        )  # fmt: skip

    def _make_comparisons(self) -> CoverageRuns:
        archives = Archives(lambda peer: connected(peer, self._tls(store.SERVICE_TLS)))
        comparison = Comparison(self._database, self._index, self._evidence, archives.open, self._clock)
        return CoverageRuns(
            self._database,
            self._journal,
            comparison,
            self._verified.with_modalities_of_parts,
            self._clock,
            break_off=archives.close,
        )

    def _make_routes(self) -> RouteService:
        images = ImageSource(self._database, self._evidence, self._index, self._opener())
        services = Services(
            _CENTRE[0], self._route_queue, images, lambda peer: connected(peer, self._tls(store.SERVICE_TLS)),
            self._clock, SystemRandom().random,
        )  # fmt: skip
        return RouteService(self._verified, self._route_queue, lambda: RouteSender(services), self._clock)

    def _routes_for_people(self) -> RoutesForPeople:
        def certificates() -> str:
            return (self._tls(store.SERVICE_TLS).certificate + self._ca.pem).decode()

        overview = RouteOverview(self._database, self._verified)
        return RoutesForPeople(overview, self._route_queue, self._routes.wake, certificates)

    def _opener(self) -> VaultOpener:
        return VaultOpener(
            self._database,
            self._objects,
            self._evidence,
            self._keys,
            self._index,
            self._journal,
            AuditProof(self._database, self._evidence),
            self._conflicts(),
            self._losses(),
        )

    def _losses(self) -> Losses:
        return Losses(self._database, self._journal, self._clock)

    def _conflicts(self) -> Conflicts:
        return Conflicts(self._database, self._evidence)

    def _make_frames(self) -> FrameWorker:
        digester = FrameDigester(
            self._database,
            self._evidence,
            self._opener(),
            Decoder(),
            lambda version: self._verified.version(version).frame_digests,
            self._journal,
            self._keys.signer(store.RECEIPTS),
            self._clock,
        )
        return FrameWorker(digester)

    def _where(self) -> Doors:
        doors = self._push.doors(self._settings.host, self._doors["hosts"].port)
        return replace(doors, enrol_port=self._doors["enrolment"].port)

    def _tls(self, name: str) -> TlsIdentity:
        return tls_identity(self._shown(name), self._keys.p256(name))

    def _shown(self, name: str) -> bytes:
        """Return the certificate of one of the centre's own keys as others get it to see."""
        return self._ca.shown(authority.newest_certificate(self._database, self._keys.p256(name)))

    def _refresh_policy(self) -> None:
        if not self._policy.refresh_due(self._clock.now()):
            return
        try:
            self._policy.refresh()
        except (Refused, Unavailable) as exc:
            # Hosts keep what they have; the status names the role that has expired.
            _LOG.error("policy.refresh-failed", extra={"why": str(exc)})


def _listen_on(host: str) -> str:
    """Return the address for doors that hosts reach by `host`."""
    if host in {"127.0.0.1", "localhost"}:
        return "127.0.0.1"
    return "::" if host.startswith("[") else "0.0.0.0"  # noqa: S104 (hosts reach it there)
