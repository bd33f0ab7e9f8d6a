"""The guard: joins the parts of the privileged process, and runs them on one thread."""

import gc
import random
import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_agent import SOFTWARE
from edge_agent.children import Children
from edge_agent.console.pinned import PinnedConsole, PinsUnreadable
from edge_agent.console.sysfs import ConsoleSysfs
from edge_agent.database import DatabaseUnavailable
from edge_agent.devices.events import KernelEvent
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.memory import Presence
from edge_agent.devices.others import Others
from edge_agent.devices.sysfs import SysfsUsb
from edge_agent.devices.tree import SysfsTree
from edge_agent.devices.udev import KernelEvents, NoEvents
from edge_agent.devices.watching import Watching
from edge_agent.files import make_folder
from edge_agent.guard_database import Opened, opened
from edge_agent.guard_desk import GuardDesk
from edge_agent.guard_host import alone, askers, local_zone, stopping, uptime
from edge_agent.guard_options import RunOptions
from edge_agent.host_watch.adjtimex import read_clock
from edge_agent.host_watch.watcher import HostWatcher
from edge_agent.link.server import LinkServer
from edge_agent.log import JsonLog, Log, why
from edge_agent.media.disks import announce, usb_disks
from edge_agent.media.gate import StorageGate
from edge_agent.notices.board import NoticeBoard, NoticesUnavailable
from edge_agent.notices.notice import told_of
from edge_agent.state_formats import claim
from edge_agent.turns import Turns
from edge_agent.usb_policy.acquaintance import Acquaintances
from edge_agent.usb_policy.clock_trust import Reading
from edge_agent.usb_policy.default_deny import Denial
from edge_agent.usb_policy.enforcer import Enforcer
from edge_agent.usb_policy.exchange import VerifiedPolicy
from edge_agent.usb_policy.judge import DeviceJudge
from edge_agent.usb_policy.keeper import PolicyKeeper
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import UNPINNED, NotPinned, TrustDamaged, load_trust
from edge_agent.usb_policy.verifier import Verifier, child_command
from edge_agent.usb_policy.warden import Warden
from edge_agent.watchdog import ServiceManager, service_manager
from shared.clock import Clock, SystemClock
from shared.devices.device import HID_CLASS, HUB_CLASS, UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.record import GuardEvent
from shared.devices.verdict import Verdict
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.devices import Authorized, GuardLayer, GuardReport

GLANCE_EVERY_S, LOOK_EVERY_S = 30.0, 600.0
_LATE_NUMBERS_S, _LINK_S, _TIME_S, _ALIVE_S = 1.0, 5.0, 60.0, 10.0
_ALIVE_APART_S = 1.0  # each word wakes the service manager, just when a device waits for this processor
_NEVER = datetime.min.replace(tzinfo=UTC)
_CLOCK_SET = timedelta(seconds=1)  # what it differs by from the time that has passed once somebody has set it
_UNRECORDED_S = 60.0  # a guard that can record nothing is started anew after that, by when there may be room
_AFTER_S = 0.01  # a moment after an instant, never before it
_SERIOUS, _MAJOR = 8, 12
_MOST_ERROR_CHARS = 500
_CONSOLE = (HID_CLASS, HUB_CLASS)


@dataclass(frozen=True)
class _JudgedAt:
    """What every verdict rests on beside policy, device and hour; `started` is the machine's start by its clock."""

    certain: tuple[bool, bool] | None = None
    started: datetime = _NEVER

    def is_still(self, now: "_JudgedAt") -> bool:
        return self.certain == now.certain and abs(self.started - now.started) < _CLOCK_SET


Verifying = Callable[[Path], Sequence[str]]
"""Returns the command of the child that verifies policy, for the guard's folder."""


def run(options: RunOptions, verifying: Verifying = child_command) -> None:
    """Guard this machine until SIGTERM or SIGINT.

    Raises AlreadyGuarded, NoSuchAccount, NoEvents, SocketFolderOpen, SocketUnavailable; DatabaseUnavailable,
    DatabaseDamaged: it has to be started anew.
    """
    clock = SystemClock()
    log = JsonLog(clock)
    manager = service_manager()
    denial = Denial(SysfsUsb(options.sys, options.proc), options.opened)
    # Before anything that can fail: whatever comes of this start, the kernel then goes on blocking.
    denial.ensure()
    # Where it is there already, a disk that takes nothing more is no reason not to guard.
    with suppress(OSError):
        make_folder(options.state)
    with alone(options.state), opened(options.state, log) as database:
        # It guards on whatever lies there; that an older version is not put over it is the package's to refuse.
        try:
            claim(options.state)
        except (Refused, OSError) as exc:
            log.event("guard.formats-not-noted", why=why(exc))
        guard = Guard(options, database, denial, clock, log, manager, verifying)
        with stopping(guard.turns), closing(guard):
            guard.begin()
            gc.freeze()  # what is there now stays: looking through it again and again would hold a device up
            guard.turns.run()


class Guard:
    """`begin` takes up what is there; from then on everything happens in the turns."""

    def __init__(
        self,
        options: RunOptions,
        opened: Opened,
        denial: Denial,
        clock: Clock,
        log: Log,
        manager: ServiceManager,
        verifying: Verifying = child_command,
    ) -> None:
        self._options, self._clock, self._log, self._manager = options, clock, log, manager
        self._opened, self._database, self._denial = opened, opened.database, denial
        self.turns = Turns(log, selectors.DefaultSelector(), fatal=(NoEvents,))
        # Many go on without what they could not read; the next start puts a damaged database aside.
        self._database.on_damage = self.turns.end
        self.journal = GuardJournal(self._database, clock, unrecorded=opened.unrecorded)
        self._usb = SysfsUsb(options.sys, options.proc)
        self._events = KernelEvents(options.sys / "kernel" / "uevent_seqnum")
        self._children = Children(self.turns)
        self._console = PinnedConsole(options.state, ConsoleSysfs(options.sys))
        self._board = NoticeBoard(options.notices)
        self._pins_doubt, self._is_up, self._alive_s, self._said = "", False, 0.0, ""
        self._judged_at = _JudgedAt()
        self._make_policy(verifying)
        self._make_devices()
        self._watcher = HostWatcher(self._children, self.turns, self.journal, clock, log, sidecar=options.sidecar)
        desk = GuardDesk(
            self._warden,
            self._keeper,
            self.journal,
            log,
            policy=self._policy,
            report=self._report,
            rehearse=self._judge.rehearse,
        )
        users, group = askers(options.agent_user)
        self._link = LinkServer(
            options.socket,
            desk,
            self.turns.selector,
            users=users,
            group=group,
            monotonic=time.monotonic,
            on_peer=self._peer_came,
        )

    def begin(self) -> None:
        """Listen first, so that nothing comes unseen between the first look and the first event."""
        self._write(GuardEvent.STARTED, "guard", {"software": SOFTWARE})
        if self._opened.lost:
            self._write(GuardEvent.GAP, "records", {"why": self._opened.lost}, _MAJOR)
        self._deny_by_default()
        self._read_pins()
        self._warden.begin()
        self._watching.begin()
        self._link.open()
        self.turns.watch(self._events.fileno(), self._drain)
        self.turns.every("glance", GLANCE_EVERY_S, self._glance)
        self.turns.every("look", LOOK_EVERY_S, self._look)
        self.turns.every("time", _TIME_S, self._time_passes)
        self.turns.every("alive", self._manager.interval_s or _ALIVE_S, self._alive)
        if self._opened.unrecorded:
            unrecorded = DatabaseUnavailable(self._opened.unrecorded)
            self.turns.every("unrecorded", _UNRECORDED_S, lambda: self.turns.end(unrecorded))
        self._policy_changed()
        self._is_up = True
        self._said = self._status()
        self._manager.ready(self._said)

    def close(self) -> None:
        """Stop. The kernel goes on blocking."""
        self._manager.stopping()
        self._keeper.stop()
        self._children.stop()
        self._link.close()
        ended_by = self.turns.ended_by
        self._write(GuardEvent.STOPPED, "guard", {} if ended_by is None else {"why": why(ended_by)})
        self._events.close()

    def _make_policy(self, verifying: Verifying) -> None:
        try:
            trust = load_trust(self._options.state)
            self._store: GuardPolicyStore | None = GuardPolicyStore(self._options.state, trust)
            layers, problems = trust.layers, self._store.problems
        except (NotPinned, TrustDamaged, Refused) as exc:
            self._store, layers, problems = None, UNPINNED, [str(exc)]
        self._parts = layers[1:]
        for problem in problems:
            self._log.event("guard.policy-unusable", why=problem)
        self._keeper = PolicyKeeper(
            Verifier(verifying(self._options.state), layers),
            self._store,
            self.turns,
            self.journal,
            self._log,
            self._policy_changed,
        )
        self._keeper.unusable("; ".join(problems)[:_MOST_ERROR_CHARS])

    def _make_devices(self) -> None:
        self._judge = DeviceJudge(
            self._policy,
            self._is_pinned,
            self._certain,
            Acquaintances(self._database, uptime),
            clock=self._clock,
            uptime=uptime,
            zone=local_zone(),
            random=random.SystemRandom().random,
        )
        boot = self._usb.boot()
        self._warden = Warden(
            self._usb,
            Enforcer(self._usb),
            self._judge,
            database=self._database,
            journal=self.journal,
            presence=Presence(self._database, boot),
            clock=self._clock,
            log=self._log,
            tell=self._tell,
            alive=self._alive,
        )
        self._tree = SysfsTree(self._options.sys)
        self._others = Others(self._tree.present, self._database, self.journal, self._clock, boot, self._policy)
        self._gate = StorageGate(
            lambda: usb_disks(self._options.sys),
            self._children,
            self.journal,
            verdict=self._warden.verdict,
            refuse=self._warden.refuse_storage,
            announce=lambda disk, uuid: announce(disk, uuid, self._options.sys),
            marks=self._options.socket.parent,
            log=self._log,
        )
        self._watching = Watching(
            self._events,
            self._warden,
            self._others,
            self.journal,
            self._log,
            on_root_hub=self._deny_by_default,
            on_storage=self._gate.look,
            on_medium=self._medium_event,
            alive=self._alive,
        )

    def _medium_event(self, event: KernelEvent) -> None:
        if event.action == "change":
            self._gate.changed(event.port, event.properties.get("SYNTH_UUID", ""))

    def _policy(self) -> DevicePolicy | None:
        return self._store.devices if self._store is not None else None

    def _certain(self) -> tuple[bool, bool]:
        if self._store is None:
            return False, True
        shown = self._read_clock()
        return self._store.is_clock_sure(shown), self._store.is_expired(shown.now)

    def _read_clock(self) -> Reading:
        kernel, _ = read_clock()
        return Reading(self._clock.now(), uptime(), is_kept=kernel is not None and kernel.is_synchronised)

    def _policy_changed(self) -> None:
        self._judged_at = _JudgedAt()
        self._time_passes()
        self._judge_others()
        in_force = self._store.in_force if self._store is not None else None
        self._watcher.follow(in_force.watch if in_force is not None else None)

    def _judge_others(self) -> None:
        try:
            self._others.judge_again()
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _drain(self) -> None:
        try:
            self._watching.drain()
        finally:
            self._follow_time()
            if self._events.is_pending:
                self.turns.once_within("glance", _LATE_NUMBERS_S)

    def _glance(self) -> None:
        """Have the kernel's count say whether anything happened unseen, and look at what changes without an event."""
        is_counted = self._events.count()
        self._drain()
        if not is_counted:
            self._look()
            return
        self._read_pins()
        self._deny_by_default()
        self._warden.release_buses()
        if not self._warden.is_settled:
            self._warden.decide_again()
        self._gate.look()
        self._watching.tell(0)
        self._say_status()

    def _look(self) -> None:
        self._read_pins()
        try:
            self._watching.look()
        finally:
            self._watching.tell(0)
            self._follow_time()
        self._say_status()

    def _time_passes(self) -> None:
        shown = self._read_clock()
        try:
            if self._store is not None:
                self._store.looked(shown)
        except Unavailable as exc:
            self._log.event("guard.clock-not-kept", why=why(exc))
        before, self._judged_at = self._judged_at, _JudgedAt(self._certain(), shown.now - shown.uptime)
        due = self._warden.next_decision()
        if not before.is_still(self._judged_at) or (due is not None and due <= shown.now):
            self._warden.decide_again()
            self._gate.look()
        self._follow_time()

    def _follow_time(self) -> None:
        in_force, now = self._store.in_force if self._store is not None else None, self._clock.now()
        changes = (self._warden.next_decision(), in_force.expires if in_force is not None else None)
        due_s = [(due - now).total_seconds() + _AFTER_S for due in changes if due is not None and due > now]
        self.turns.once_within("time", min(due_s, default=_TIME_S))

    def _alive(self) -> None:
        # Said from within the turns and between devices, so a guard that hangs at one of them falls silent.
        now = time.monotonic()
        if now - self._alive_s < _ALIVE_APART_S:
            return
        self._alive_s = now
        if self._is_up:
            self._manager.alive()
        else:
            self._manager.starting()

    def _deny_by_default(self) -> None:
        self._denial.ensure()
        if not self._denial.untold:
            return
        self._log.event("guard.default-deny-set", where=self._denial.untold)
        found = {"found": ", ".join(self._denial.untold), "why": "what is plugged in there was authorised by itself"}
        if self._write(GuardEvent.GAP, "default deny", found, _SERIOUS):
            self._denial.untold.clear()

    def _is_pinned(self, device: UsbDevice) -> bool:
        if self._console.find(device.port, device.vendor, device.product) is not None:
            return True
        # Which devices are the console cannot be read, and without the guard they work: what is in use is left alone.
        is_input = bool(device.interfaces) and all(face.class_code in _CONSOLE for face in device.interfaces)
        return self._console.is_doubtful and is_input and self._usb.authorized(device.port) is Authorized.YES

    def _read_pins(self) -> None:
        before = self._console.is_doubtful
        self._refresh_pins()
        if self._console.is_doubtful != before:
            self._warden.decide_again()  # what was left alone because of the doubt, or is now

    def _refresh_pins(self) -> None:
        try:
            if self._console.refresh():
                pins = {pin.port: f"{pin.role.value} {pin.name}" for pin in self._console.pins.pins}
                self._write(GuardEvent.CONSOLE_PINNED, "console", pins)
                self._warden.decide_again()
        except PinsUnreadable as exc:
            self._doubt_pins(why(exc))
        else:
            self._doubt_pins("the list is gone, and udev's rule is there" if self._console.is_doubtful else "")

    def _doubt_pins(self, reason: str) -> None:
        if reason and reason != self._pins_doubt:
            self._write(GuardEvent.CONSOLE_PINNED, "console", {"why": reason, "left alone": "input in use"}, _SERIOUS)
        self._pins_doubt = reason

    def _tell(self, device: UsbDevice, verdict: Verdict) -> None:
        told = told_of(device, verdict, self._policy(), self._clock.now())
        if told is None:
            return
        try:
            self._board.post(told)
        except NoticesUnavailable as exc:
            self._log.event("guard.not-told", why=why(exc))

    def _report(self) -> GuardReport:
        in_force = self._store.in_force if self._store is not None else None
        return GuardReport(
            software=SOFTWARE,
            policy=in_force.version if in_force is not None and in_force.devices is not None else 0,
            policy_error=self._error(),
            clock_sure=self._certain()[0],
            default_deny=self._denial.state.value,
            sidecar=self._options.sidecar,
            gaps=self._watching.gaps,
            records=self.journal.written(),
            devices=tuple(self._warden.states()),
            others=tuple(self._others.states()),
            findings=self._watcher.findings,
            left_out=self._tree.left_out,
            layers=self._layers(in_force),
        )

    def _layers(self, in_force: VerifiedPolicy | None) -> tuple[GuardLayer, ...]:
        versions = {} if in_force is None else {each.layer: each.version for each in in_force.parts}
        return tuple(GuardLayer(part, versions.get(part, 0)) for part in self._parts)

    def _error(self) -> str:
        unrecorded = (
            self._opened.unrecorded and f"nothing is allowed, as it cannot be recorded: {self._opened.unrecorded}"
        )
        return "; ".join(filter(None, (unrecorded, self._keeper.error)))[:_MOST_ERROR_CHARS]

    def _say_status(self) -> None:
        status = self._status()
        if status != self._said:
            self._said = status
            self._manager.status(status)

    def _peer_came(self) -> None:
        if self._link.peers == 1:  # set anew for each, it would never be due for who connects again and again
            self.turns.every("link", _LINK_S, self._look_at_peers)

    def _look_at_peers(self) -> None:
        self._link.tick()
        if not self._link.peers:
            self.turns.cancel("link")

    def _status(self) -> str:
        try:
            report = self._report()
        except (Unavailable, IntegrityFailure) as exc:
            return why(exc)
        blocked = sum(1 for device in report.devices if not device.is_enforced)
        return f"policy {report.policy}; {len(report.devices)} devices, {blocked} not enforced; {report.gaps} gaps"

    def _write(self, event: GuardEvent, subject: str, fields: dict[str, str], outcome: int = 0) -> bool:
        """Return whether it is on record."""
        try:
            self.journal.record(Note(event, subject, fields, outcome))
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
            return False
        return True
