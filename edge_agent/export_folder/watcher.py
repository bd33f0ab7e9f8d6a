"""Watches one modality's export folder and captures every image in it: a part of the agent, in a thread of its own.

What inotify tells is taken at once; a rescan finds what it did not tell: at the start, when its queue overflows, on a
network file system, where a watch is missing, and every so often. Of a folder with 100,000 files no more is held in
memory than of one with a few thousand.
"""

import contextlib
import random
import select
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import BinaryIO

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.boundary import contained
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.database import Database
from edge_agent.export_folder import inotify as kernel
from edge_agent.export_folder.asked import AskedRescans, Rescan
from edge_agent.export_folder.bell import DescriptorBell
from edge_agent.export_folder.classify import Observed, Reading, Stamp, Timing, Word, choose_reading
from edge_agent.export_folder.inotify import CannotWatch, Change, Inotify
from edge_agent.export_folder.intake import ChangedWhileRead, FileReader, Stopping
from edge_agent.export_folder.ledger import KEPT_DAYS, Entry, FolderRow, Ledger, State
from edge_agent.export_folder.lies_on import MISSING
from edge_agent.export_folder.named import ExportFolder
from edge_agent.export_folder.release import (
    IsCut,
    ReceiptBook,
    Released,
    Releaser,
    Verify,
    ends_too_early,
    is_what_was_captured,
)
from edge_agent.export_folder.settling import MOST, Settling
from edge_agent.export_folder.sysfs import MOUNTINFO, Places
from edge_agent.export_folder.taker import Taken, Taker
from edge_agent.export_folder.tree import DELIVERED, File, FileGone, FileUnreadable, FolderMissing, Tree, Walk
from edge_agent.export_folder.watches import Watches
from edge_agent.log import OUR_ERRORS, Log, why
from edge_agent.parts import Bell
from shared import clock as instants
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.state import FolderState
from shared.identity import HostId, ObjectId
from shared.policy.document import AfterReceipt, PolicyDocument

_TAKEN_AT_ONCE = 64
_SCANNED_AT_ONCE = 256
_MOST_WALKS = 256
_MOST_RECENT = 4096
_ASKED_AT_ONCE, _ANSWERED_AT_ONCE = 16, 64
_PUBLISH_S = 1.0
_CLOSED = Reading(None, "not read: this host is isolated, and takes nothing in")
# A rescan comes no sooner than this many times what the last one took, and at the latest after ten minutes.
_SCANS_SHARE, _MOST_PAUSE_S = 50, 600.0


class ExportFolderWatcher:
    """`verify`, `is_cut`, `receipts` and `timing` are what a test replaces to see what each of them protects."""

    def __init__(
        self,
        folder: ExportFolder,
        *,
        host_id: HostId,
        policy: Callable[[], PolicyDocument | None],
        pipeline: CapturePipeline,
        ledger: Ledger,
        receipts: ReceiptBook,
        journal: Journal,
        database: Database,
        clock: Clock,
        log: Log,
        timing: Timing = Timing(),  # noqa: B008  frozen
        places: Places | None = None,
        verify: Verify = is_what_was_captured,
        is_cut: IsCut = ends_too_early,
        monotonic: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
        most: int = MOST,
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name, self._bell = f"export-folder {folder.ae_title}", DescriptorBell()
        self.bell: Bell = self._bell
        self._ae_title, self._policy, self._ledger, self._clock, self._log = (
            folder.ae_title, policy, ledger, clock, log,
        )  # fmt: skip
        self._is_open = is_open
        self._timing, self._places, self._monotonic, self._spread = timing, places or Places(), monotonic, spread
        self._tree, self._stop = Tree(folder.path), threading.Event()
        reader = FileReader(self._is_stopping)
        self._taker = Taker(
            self._tree, folder.ae_title, host_id=host_id, pipeline=pipeline, ledger=ledger, journal=journal,
            database=database, clock=clock, log=log, reader=reader,
        )  # fmt: skip
        self._releaser = Releaser(
            host_id=host_id, ledger=ledger, receipts=receipts, journal=journal, database=database, log=log,
            reader=reader, verify=verify, is_cut=is_cut,
        )  # fmt: skip
        self._settling = Settling(timing, most)
        self._inotify: Inotify | None = None
        self._watches: Watches | None = None
        self._identity: tuple[int, int] | None = None  # None: not being read
        self._was_mounted = False
        self._walks: deque[Walk] = deque()
        self._rescan: Walk | None = None  # the one of the walks that is of the whole folder
        self._rescan_due_s, self._rescan_took_s = 0.0, 0.0
        self._has_missed = False  # since the rescan began something was not told, or there was no room to watch it
        self._recent: OrderedDict[ObjectId, bytes] = OrderedDict()  # captured, and perhaps waiting for a receipt
        self._cut_short: dict[bytes, ObjectId] = {}
        self._seen: list[bytes] = []
        self._pruned_day = 0
        self._asked = AskedRescans()
        self._met = 0  # by the rescan under way
        self._is_partly_hidden = False  # the last rescan met a folder that it could not list
        self._held_until_s, self._failures = 0.0, 0
        self._reading, self._lies_on = "", MISSING
        self._published: FolderRow | None = None
        self._publish_due_s = 0.0

    # ---- the part

    def run(self, stop: threading.Event) -> None:
        self._stop = stop
        with contextlib.ExitStack() as stack:
            stack.callback(self._let_go)
            mounts = _mount_table(stack)
            while not stop.is_set():
                wait_s = self.step()
                if not stop.is_set():
                    self._bell.wait(self._descriptors(mounts), wait_s)

    def _is_stopping(self) -> bool:
        return self._stop.is_set()

    def rescan(self) -> Rescan:
        """Have the whole folder looked through once more, soon; from any thread."""
        rescan = self._asked.add()
        self._bell.ring()
        return rescan

    @property
    def ae_title(self) -> str:
        return self._ae_title

    @property
    def is_reading(self) -> bool:
        return self._identity is not None

    def state(self) -> FolderState:
        """Return what the host's state report says of this folder. Raises DatabaseUnavailable, DatabaseDamaged."""
        return FolderState(self._ae_title, self._lies_on, self._waiting())

    def step(self) -> float:
        """Do what there is to do now; return after how many seconds there will be more, 0 for at once."""
        now_s = self._monotonic()
        reading = choose_reading(self._policy(), self._ae_title) if self._is_open() else _CLOSED
        try:
            wait_s = self._rest(reading) if reading.after is None else self._work(reading, reading.after, now_s)
            wait_s = self._publish(wait_s)
        except FolderMissing as exc:
            wait_s = self._miss(exc)
        except Stopping:
            return 0.0
        except (Unavailable, IntegrityFailure, Refused) as exc:
            # Nothing can be captured now, or nothing noted: whatever is in the folder waits there.
            self._failures += 1
            wait_s = delay_s(self._failures, self._spread())
            self._held_until_s = self._monotonic() + wait_s
            self._log.event("export-folder.waits", modality=self._ae_title, why=why(exc), failures=self._failures)
        return wait_s

    def _work(self, reading: Reading, after: AfterReceipt, now_s: float) -> float:
        self._arm()
        self._reading = reading.why + "; some of it cannot be listed" * self._is_partly_hidden
        self._hear(now_s)
        if self._identity is None:
            self._arm()
        if now_s >= self._held_until_s:
            self._begin_rescan(now_s)
            self._take_due(now_s)
            self._release_recent(after)
            self._scan(after)
            self._failures = 0
        return self._wait_s()

    def _wait_s(self) -> float:
        now_s = self._monotonic()
        due = [now_s if self._asked.waiting else self._rescan_due_s] if self._rescan is None else []
        if self._walks and not self._settling.is_full:
            due.append(now_s)
        if (next_s := self._settling.next_s()) is not None:
            due.append(next_s)
        return max(min(due, default=now_s + self._timing.rescan_s), self._held_until_s) - now_s

    def _descriptors(self, mounts: BinaryIO | None) -> tuple[tuple[int, int], ...]:
        heard = [(self._inotify.fileno(), select.POLLIN)] if self._inotify is not None else []
        if mounts is not None:
            # proc(5): a change of the mount table is an exceptional condition of this file.
            heard.append((mounts.fileno(), select.POLLPRI))
        return tuple(heard)

    # ---- the folder as a whole

    def _arm(self) -> None:
        """Begin to watch where the folder is new, or another one than before. Raises FolderMissing."""
        identity = self._tree.identity()
        if identity == self._identity:
            return
        self._let_go()
        mounted = self._places.is_mount_point(self._tree.root)
        if self._was_mounted and not mounted and self._tree.is_empty():
            # What is there is the empty folder below, not the modality's.
            raise FolderMissing("what was mounted there is not mounted now")
        self._was_mounted = mounted
        try:
            self._inotify = Inotify()
            self._watches = Watches(self._inotify, self._log)
        except CannotWatch as exc:
            self._log.event("export-folder.not-watched", modality=self._ae_title, why=why(exc))
        self._identity, self._rescan_due_s, self._publish_due_s = identity, self._monotonic(), 0.0
        self._cut_short = self._ledger.releasing(self._ae_title)
        self._log.event("export-folder.watching", modality=self._ae_title)

    def _let_go(self) -> None:
        """Hold nothing of the folder any more, in memory or open."""
        for walk in self._walks:
            walk.close()
        self._walks.clear()
        self._settling.clear()
        self._recent.clear()
        self._rescan, self._identity, self._watches = None, None, None
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _rest(self, reading: Reading) -> float:
        self._let_go()
        self._asked.give_up()
        self._reading, self._lies_on = reading.why, self._places.of(self._tree.root)
        return self._timing.rescan_s

    def _miss(self, exc: FolderMissing) -> float:
        if self._lies_on != MISSING or self._identity is not None:
            self._log.event("export-folder.missing", modality=self._ae_title, why=why(exc))
        self._let_go()
        self._asked.give_up()
        self._reading, self._lies_on, self._publish_due_s = why(exc), MISSING, 0.0
        with contextlib.suppress(Unavailable, IntegrityFailure):
            self._publish(self._timing.missing_s)
        return self._timing.missing_s

    def _waiting(self) -> int:
        return self._ledger.count(self._ae_title, State.CAPTURED) + len(self._settling)

    def _publish(self, wait_s: float) -> float:
        """Keep how the folder stands for `leadglass-agent status`, not too often; return how long to wait now."""
        now_s = self._monotonic()
        if wait_s <= 0:
            return wait_s
        if now_s < self._publish_due_s:
            return min(wait_s, self._publish_due_s - now_s)
        self._publish_due_s = now_s + _PUBLISH_S
        refused = self._ledger.count(self._ae_title, State.REFUSED, State.UNREADABLE)
        row = FolderRow(self._ae_title, self._reading, self._lies_on, self._waiting(), refused, "")
        if row != self._published:
            self._ledger.publish(replace(row, time=instants.text(self._clock.now())))
            self._published = row
        return wait_s

    # ---- what inotify tells

    def _hear(self, now_s: float) -> None:
        if self._inotify is None or self._watches is None:
            return
        for change in self._inotify.changes():
            self._hear_one(change, self._watches, now_s)
            if self._identity is None or self._stop.is_set():
                return

    def _hear_one(self, change: Change, watches: Watches, now_s: float) -> None:
        if change.mask & kernel.OVERFLOW:
            self._log.event("export-folder.overflow", modality=self._ae_title)
            self._rescan_again(now_s)
            return
        path = watches.path_of(change)
        if change.mask & (kernel.IGNORED | kernel.UNMOUNT):
            watches.lapse(change.watch)
            if path == b"":
                # The folder itself is gone; one that is made in its place may even have its inode.
                self._identity = None
        if not path or not change.name or path == DELIVERED:
            return
        if change.mask & kernel.IS_FOLDER:
            self._hear_folder(path, change.mask, watches, now_s)
        elif change.mask & (kernel.CLOSE_WRITE | kernel.MOVED_TO):
            self._see(path, Word.CLOSED, now_s)
        elif change.mask & kernel.CREATE:
            self._see(path, Word.CREATED, now_s)

    def _hear_folder(self, path: bytes, mask: int, watches: Watches, now_s: float) -> None:
        if mask & kernel.MOVED_FROM:
            watches.drop(path)
        elif len(self._walks) >= _MOST_WALKS:
            self._rescan_again(now_s)
        else:
            self._walks.appendleft(self._tree.walk(path, watches.add))

    def _see(self, path: bytes, word: Word, now_s: float) -> None:
        try:
            stamp = self._tree.stamp(path)
            if word is Word.CREATED and self._tree.is_linked(path):
                word = Word.FOUND  # another name for a file; it has no close of its own
        except (FileGone, FileUnreadable):
            return
        if not self._settling.see(path, stamp, word, now_s):
            self._has_missed, self._rescan_due_s = True, now_s

    # ---- rescan

    def _begin_rescan(self, now_s: float) -> None:
        if self._rescan is not None or (now_s < self._rescan_due_s and not self._asked.waiting):
            return
        self._asked.begin()
        self._lies_on = self._places.of(self._tree.root)
        self._rescan = self._tree.walk(b"", self._watches.add if self._watches is not None else _unwatched)
        self._rescan_took_s, self._has_missed, self._met = 0.0, False, 0
        self._walks.append(self._rescan)

    def _rescan_again(self, now_s: float) -> None:
        """Have a whole rescan begin now, or after the one under way: begun anew each time it would never end."""
        for walk in self._walks:
            if walk is not self._rescan:
                walk.close()
        self._walks = deque(walk for walk in self._walks if walk is self._rescan)
        self._has_missed, self._rescan_due_s = True, now_s

    def _scan(self, after: AfterReceipt) -> None:
        """Look at some more of what the walks find, as long as there is room to watch it."""
        start_s = self._monotonic()
        for _ in range(_SCANNED_AT_ONCE):
            if not self._walks or self._settling.is_full or self._stop.is_set():
                break
            walk = self._walks[0]
            file = next(walk, None)
            if file is not None:
                self._met += walk is self._rescan
                self._meet(file, after)
                continue
            self._walks.popleft()
            if walk is self._rescan:
                self._end_rescan(walk)
        self._rescan_took_s += self._monotonic() - start_s
        self._note_seen()

    def _meet(self, file: File, after: AfterReceipt) -> None:
        name, today = self._ledger.name(self._ae_title, file.path), self._today()
        entry = self._ledger.find(name)
        self._cut_short.pop(name, None)
        if (
            entry is None
            or not entry.is_of(file.stamp)
            or entry.state is State.UNREADABLE
            or self._taker.is_lost(entry)
        ):
            self._settling.see(file.path, file.stamp, Word.FOUND, self._monotonic())
            return
        if entry.seen_day != today:
            self._seen.append(name)
        if entry.object_id is None or (entry.state is State.RECEIPTED and after is AfterReceipt.KEEP):
            return
        # Once a day is enough for what cannot be moved or deleted: each try reads it whole.
        if not (entry.noted and entry.seen_day == today):
            released = self._release(file, name, entry, after)
            if released is Released.WAITS and not entry.noted:
                self._remember(entry.object_id, file.path)  # captured before this start

    def _end_rescan(self, walk: Walk) -> None:
        now_s, today = self._monotonic(), self._today()
        self._rescan = None
        if not walk.is_complete and not self._is_partly_hidden:
            self._log.event("export-folder.partly-hidden", modality=self._ae_title)
        self._is_partly_hidden = not walk.is_complete
        self._asked.end(self._met, is_complete=walk.is_complete)
        # Files that were let go just before a stop: what is not found any more was moved or deleted.
        if walk.is_complete:
            for name, object_id in self._cut_short.items():
                self._releaser.finish(name, object_id)
            self._cut_short.clear()
            self._note_seen()
            if self._pruned_day != today:
                self._ledger.drop_unseen(self._ae_title, today - KEPT_DAYS)
                self._pruned_day = today
        if not self._has_missed:
            pause_s = min(self._rescan_took_s * _SCANS_SHARE, _MOST_PAUSE_S)
            self._rescan_due_s = now_s + max(self._timing.rescan_s, pause_s)

    def _note_seen(self) -> None:
        if self._seen:
            self._ledger.mark_seen(self._seen, self._today())
            self._seen.clear()

    def _today(self) -> int:
        return self._clock.now().toordinal()

    # ---- taking

    def _take_due(self, now_s: float) -> None:
        for path, observed in islice(self._settling.due(now_s), _TAKEN_AT_ONCE):
            if self._stop.is_set():
                return
            try:
                stamp = self._tree.stamp(path)
            except (FileGone, FileUnreadable):
                self._settling.forget(path)
                continue
            if observed.word is not Word.CLOSED and not stamp.same_content(observed.stamp):
                self._settling.see(path, stamp, Word.FOUND, now_s)
                continue
            self._take(path, observed, stamp, now_s)

    def _take(self, path: bytes, observed: Observed, stamp: Stamp, now_s: float) -> None:
        file, name = File(path, stamp), self._ledger.name(self._ae_title, path)
        out_of_patience = observed.is_out_of_patience(now_s, self._clock.now(), self._timing)
        taken: Taken | None = None
        failed: Exception | None = None

        def take() -> None:
            nonlocal taken, failed
            try:
                taken = self._taker.take(file, name, out_of_patience=out_of_patience)
            except OUR_ERRORS as exc:
                failed = exc

        contained(self._log, self.name, take)
        if isinstance(failed, FileGone):
            self._settling.forget(path)
        elif taken is None:
            # It changed, or there is no room for it, or nobody knows what is wrong: later again, the others meanwhile.
            self._settling.put_off(path, stamp, self._monotonic())
            if failed is not None and not isinstance(failed, ChangedWhileRead):
                raise failed
        elif taken.is_settled:
            self._settling.forget(path)
            self._remember(taken.object_id, path)
        else:
            self._settling.not_yet(path)

    def _remember(self, object_id: ObjectId | None, path: bytes) -> None:
        if object_id is None:
            return
        self._recent[object_id] = path
        if len(self._recent) > _MOST_RECENT:
            # The rescan finds the file again.
            self._recent.popitem(last=False)

    # ---- letting go

    def _release_recent(self, after: AfterReceipt) -> None:
        """Ask for the receipts of a few of the files captured last; the rescan asks for all of them."""
        unanswered = 0
        for object_id, path in list(islice(self._recent.items(), _ANSWERED_AT_ONCE)):
            if unanswered == _ASKED_AT_ONCE:
                return
            name = self._ledger.name(self._ae_title, path)
            entry = self._ledger.find(name)
            try:
                stamp = self._tree.stamp(path)
            except (FileGone, FileUnreadable):
                entry = None
            else:
                # One of which was noted that it stays is the rescan's, which tries once a day.
                if entry is not None and not entry.noted and entry.is_of(stamp) and entry.object_id == object_id:
                    released = self._release(File(path, stamp), name, entry, after)
                    if released is Released.WAITS:
                        self._recent.move_to_end(object_id)
                        unanswered += 1
                        continue
            self._recent.pop(object_id)

    def _release(self, file: File, name: bytes, entry: Entry, after: AfterReceipt) -> Released:
        try:
            released = self._releaser.release(self._tree, file, name, entry, after)
        except (FileGone, FileUnreadable):
            return Released.STAYS
        if released is Released.CHANGED:
            self._settling.see(file.path, file.stamp, Word.FOUND, self._monotonic())
        return released


def _unwatched(_path: bytes, _folder: int) -> None:
    """Where nothing can be watched the rescan finds everything."""


def _mount_table(stack: contextlib.ExitStack) -> BinaryIO | None:
    try:
        return stack.enter_context(MOUNTINFO.open("rb"))
    except OSError:
        return None
