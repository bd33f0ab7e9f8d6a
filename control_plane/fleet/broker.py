"""Mosquitto as a child of the control plane: started, watched, started again, and never left behind.

    supervising thread ─ fork ─▶ setpriv ─ exec ─▶ sh ─ exec ─▶ mosquitto

The kernel tells the child when the thread that forked it ends (PR_SET_PDEATHSIG), so the thread that forks is the one
that lives as long as the broker is wanted. `setpriv` asks for that signal after the change of user, which would clear
it; `sh` looks whether the parent was gone before it was asked for. Both become the next program: one process remains.

Mosquitto 2.0 forgets a TERM that comes just after it said that it runs. So a parent's death kills it (all that is lost
then comes back by itself), and a stop in order asks again until it ends.

The private key is handed over in an anonymous file in memory, and Mosquitto never runs as root: started as root it
would drop its privileges by itself, but only after it has read every file as root, and losing the signal above.
"""

import fcntl
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from time import monotonic

from control_plane.fleet import broker_config as files
from control_plane.fleet.broker_config import ACCESS_RULES, Listener, configuration
from shared.errors import Refused, Unavailable

_LOG = logging.getLogger(__name__)

LEAST_VERSION = (2, 0, 0)
_BROKER_USER = "mosquitto"
_START_S = 15.0
_STOP_S = 5.0
_ASK_AGAIN_S = 0.3
_MOST_OWED = 3
_STEADY_S = 60.0  # a broker that ran this long begins again with the shortest pause
_PORT_ATTEMPTS = 5
_STILL_OUR_PARENT = 'test "$PPID" = "$1" && shift && exec "$@"'


class BrokerTooOld(Refused):
    def __init__(self, found: str) -> None:
        least = ".".join(map(str, LEAST_VERSION))
        super().__init__(f"mosquitto {found} is too old: {least} or newer keeps strangers out by default")
        self.found = found


class BrokerUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the MQTT broker does not run: {why}")
        self.why = why


@dataclass(frozen=True)
class BrokerStatus:
    running: bool
    port: int
    restarts: int
    reason: str  # why it last ended by itself; empty when it never did


def find_mosquitto() -> Path | None:
    """Return the program, also where only root's search path leads to it."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


class ManagedBroker:
    """One broker with its folder. `port` 0 picks a free one, which then stays the same through every restart."""

    def __init__(
        self,
        folder: Path,
        mosquitto_path: Path,
        port: int,
        ca_pem: bytes,
        cert_pem: bytes,
        key_pem: bytes,
        listen: str = "127.0.0.1",
        *,
        configure: Callable[[Listener], str] = configuration,
        access_rules: str = ACCESS_RULES,
        revoked_pem: bytes | None = None,
        pauses_s: tuple[float, float] = (0.2, 30.0),
    ) -> None:
        self._folder, self._program, self._listen = folder, mosquitto_path, listen
        self._ca_pem, self._cert_pem, self._key_pem = ca_pem, cert_pem, key_pem
        self._configure, self._access_rules, self._pauses_s = configure, access_rules, pauses_s
        self._revoked_pem = revoked_pem
        self._any_port, self.port = port == 0, port
        self._lock = Lock()
        self._heard = Condition(self._lock)
        self._files = Lock()  # drafts have one name each, and the broker says once that it read
        self._stopping, self._settled = Event(), Event()
        self._thread: Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._key: int | None = None
        self._running, self._restarts, self._reason = False, 0, ""
        # How often this process was asked to read its rules again, when last, and how often it said that it does.
        self._asked, self._asked_at, self._said = 0, 0.0, 0
        self._last_words: deque[str] = deque(maxlen=3)

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def status(self) -> BrokerStatus:
        with self._lock:
            return BrokerStatus(self._running, self.port, self._restarts, self._reason)

    def start(self) -> None:
        """Return once the broker listens; from then on it is started again whenever it ends.

        Raises BrokerTooOld; BrokerUnavailable when it does not come up, and nothing is left running then.
        """
        version = _version(self._program)
        if version < LEAST_VERSION:
            raise BrokerTooOld(".".join(map(str, version)))
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            if self.port == 0 or (self._any_port and attempt > 1):
                self.port = _free_port(self._listen)
            self._begin()
            if self._settled.wait(_START_S) and self._running:
                return
            reason = self._reason or f"it was not ready within {_START_S:.0f} s"
            self.stop()
            # Between our choice of a free port and Mosquitto's use of it, somebody else may have taken it.
            if not (self._any_port and "in use" in reason) or attempt == _PORT_ATTEMPTS:
                raise BrokerUnavailable(reason)

    def stop(self) -> None:
        """End the broker and its supervision; what it remembers is on disk when this returns."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if self._thread is not None:
            until = monotonic() + _STOP_S
            while process is not None and self._thread.is_alive() and monotonic() < until:
                process.terminate()
                self._thread.join(_ASK_AGAIN_S)
            if process is not None and self._thread.is_alive():
                process.kill()
            self._thread.join()
            self._thread = None
        if self._key is not None:
            os.close(self._key)
            self._key = None

    def tell_revoked(self, revoked_pem: bytes, access_rules: str) -> None:
        """Return once the broker goes by a new revocation list and new rules. It ends no connection by that.

        Raises BrokerUnavailable: they cannot be written, it does not run, or it did not say that it read them. What
        is written it reads when it starts again.
        """
        with self._files:
            self._revoked_pem, self._access_rules = revoked_pem, access_rules
            try:
                for name, content in ((files.REVOKED_FILE, revoked_pem), (files.ACCESS_FILE, access_rules.encode())):
                    self._place(name, content)
            except OSError as exc:
                raise BrokerUnavailable(f"its rules cannot be written: {exc}") from exc
            self._have_read_again()

    def _have_read_again(self) -> None:
        """Mosquitto 2.0 forgets a HUP that comes while it still reads for the one before, so it is asked again.

        And what it says to one of before may be heard only now, so as many answers do not count as it may still owe: a
        HUP that waits, and what it has said and nobody heard yet. What it left unanswered for long it has forgotten.
        """
        until = monotonic() + _STOP_S
        with self._lock:
            is_recent = monotonic() - self._asked_at <= _STOP_S
            owed = min(max(self._asked - self._said, 0), _MOST_OWED) if is_recent else 0
            # Counted from here: who else sends a HUP has it say more than it was asked here.
            self._asked, wanted = self._said + owed, self._said + owed + 1
            while monotonic() < until:
                if not self._running or self._process is None:
                    raise BrokerUnavailable(self._reason or "it is not started")
                self._process.send_signal(signal.SIGHUP)
                self._asked, self._asked_at = self._asked + 1, monotonic()
                # Said before it reads, but it takes no connection in between.
                if self._heard.wait_for(lambda: self._said >= wanted, _ASK_AGAIN_S):
                    return
        raise BrokerUnavailable("it did not read its rules again")

    def _begin(self) -> None:
        account = _account()
        self._key = _memory_file(self._key_pem, account)
        with self._files:
            self._prepare_folder(account, f"/proc/self/fd/{self._key}")
        self._stopping.clear()
        self._settled.clear()
        self._restarts, self._reason = 0, ""
        self._thread = Thread(target=self._supervise, args=(account, self._key), name="broker", daemon=True)
        self._thread.start()

    def _prepare_folder(self, account: pwd.struct_passwd | None, key_path: str) -> None:
        # The rules are ours and only the broker's memory is its own: taken over, it cannot rewrite what it is told.
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._folder.chmod(0o755)
        state = self._folder / files.STATE_FOLDER
        state.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            for path in (state, *state.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        config = self._configure(Listener(self._listen, self.port, key_path))
        for name, content in (
            (files.CA_FILE, self._ca_pem),
            (files.CERTIFICATE_FILE, self._cert_pem),
            (files.ACCESS_FILE, self._access_rules.encode()),
            (files.REVOKED_FILE, self._revoked_pem or b""),
            ("mosquitto.conf", config.encode()),
        ):
            self._place(name, content)

    def _place(self, name: str, content: bytes) -> None:
        # Whole or not at all: the broker may be starting again at this moment.
        draft = self._folder / f"{name}.new"
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.replace(self._folder / name)

    def _supervise(self, account: pwd.struct_passwd | None, key: int) -> None:
        shortest, longest = self._pauses_s
        pause = shortest
        while not self._stopping.is_set():
            began = monotonic()
            was_ready, reason = self._run(account, key)
            if self._stopping.is_set():
                return
            if not was_ready and self._set_damaged_memory_aside():
                continue
            with self._lock:
                self._reason = reason
                self._restarts += 1
            _LOG.warning("broker ended", extra={"reason": reason, "restarts": self._restarts})
            self._settled.set()
            pause = shortest if monotonic() - began > _STEADY_S else min(pause * 2, longest)
            self._stopping.wait(pause)

    def _run(self, account: pwd.struct_passwd | None, key: int) -> tuple[bool, str]:
        """Run the broker until it ends; return whether it ever was ready, and why it ended."""
        with self._lock:
            if self._stopping.is_set():
                return False, ""
            try:
                process = self._process = self._spawn(account, key)
                self._asked = self._said = 0
            except OSError as exc:
                return False, str(exc)
        self._last_words.clear()
        was_ready = False
        # The thread that forked reads what the child says: it cannot end before the child does.
        for line in process.stderr or ():
            self._hear(line.strip())
            if re.fullmatch(r"mosquitto version \S+ running", line.strip()):
                was_ready = self._running = True
                _LOG.info("broker running", extra={"port": self.port, "pid": process.pid})
                self._settled.set()
        code = process.wait()
        if process.stderr is not None:
            process.stderr.close()
        with self._lock:
            self._running, self._process = False, None
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return was_ready, "; ".join((ended, *self._last_words))

    def _spawn(self, account: pwd.struct_passwd | None, key: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _STILL_OUR_PARENT, "sh", str(os.getpid()),
             str(self._program), "-c", "mosquitto.conf"],
            cwd=self._folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=[key],
            start_new_session=True,  # Ctrl-C is for the control plane, which then stops its broker in order
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip

    def _hear(self, line: str) -> None:
        if line == "Reloading config.":
            with self._heard:
                self._said += 1
                self._heard.notify_all()
        if re.search(r"\b(Error|Unable|Warning)\b", line):
            self._last_words.append(line)
            _LOG.warning("broker complains", extra={"line": line})
        elif line:
            _LOG.info("broker says", extra={"line": line})

    def _set_damaged_memory_aside(self) -> bool:
        # Everything in it comes back: we publish the policy again and hosts subscribe again.
        database = self._folder / files.STATE_FOLDER / files.DATABASE_FILE
        if not (database.exists() and any("open database" in line for line in self._last_words)):
            return False
        database.replace(database.with_suffix(".damaged"))
        _LOG.warning("broker memory set aside", extra={"path": str(database.with_suffix(".damaged"))})
        return True


def _version(program: Path) -> tuple[int, ...]:
    try:
        shown = subprocess.run([program, "-h"], capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BrokerUnavailable(f"{program} does not run: {exc}") from exc
    found = re.match(r"mosquitto version (\d+)\.(\d+)\.(\d+)", shown)
    if found is None:
        raise BrokerUnavailable(f"{program} does not say which version of mosquitto it is")
    return tuple(int(part) for part in found.groups())


def _account() -> pwd.struct_passwd | None:
    """Return whom the broker runs as: None for ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_BROKER_USER)
    except KeyError as exc:
        raise BrokerUnavailable(f"there is no user {_BROKER_USER}, and it is not run as root") from exc


def _memory_file(content: bytes, owner: pwd.struct_passwd | None) -> int:
    """Return the descriptor of an anonymous file in memory that nobody can change any more."""
    descriptor = os.memfd_create("leadglass-broker-key", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    os.fchmod(descriptor, 0o400)
    if owner is not None:
        os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
