"""The guard in the guest, as its systemd unit, and whoever signs its policy."""

import base64
import importlib.util
import io
import py_compile
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from edge_agent.link import protocol
from edge_agent.link.frames import frame
from edge_agent.link.protocol import Answer, Request
from edge_agent.usb_policy.exchange import Offer
from shared.clock import SystemClock
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.record import GuardEvent, GuardRecord
from shared.fleet.devices import Authorized, DeviceState, GuardReport
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.lab.lab import Lab
from tests.lab.wire import LabError, until

ROOT = Path(__file__).resolve().parents[2]
PLACE = "opt/leadglass"
STATE, SOCKET = "/var/lib/leadglass-guard", "/run/leadglass-guard/guard.sock"
UNIT = "leadglass-guard.service"
PROGRAM = "#!/usr/bin/python3\nimport sys\n\nfrom edge_agent.guard_main import main\n\nsys.exit(main())\n"
# Where a package would put what is beside the unit.
SYSTEM_FILES = {
    "systemd/leadglass-guard.service": "etc/systemd/system",
    "systemd/udev/*.rules": "etc/udev/rules.d",
    "systemd/tmpfiles.d/*.conf": "etc/tmpfiles.d",
    "systemd/sysusers.d/*.conf": "etc/sysusers.d",
}
DECIDED_S = 120.0
ASK_EVERY_S = 0.1  # each answer takes the guest's processor from what is waited for


class LabGuard:
    """A guard that follows what `signed` signs, from version `version` on. `install`, then `start`."""

    def __init__(self, lab: Lab, signed: SignedPolicies, version: int = 0) -> None:
        self._guest, self._signed, self.version = lab.guest, signed, version

    # ---- the unit

    def install(self) -> None:
        """Lay the project and its unit into the guest, and enable it; it starts with the next start, or by `start`."""
        self._guest.put("/run/leadglass.tar", packed())
        self._guest.put(f"{STATE}/trust.json", self._signed.trust.encode(), mode=0o600)
        self._guest.run(
            f"tar --extract --file /run/leadglass.tar --directory / && rm /run/leadglass.tar && chmod 700 {STATE} && "
            "systemd-sysusers && systemd-tmpfiles --create leadglass-guard.conf && udevadm control --reload && "
            f"systemctl enable {UNIT} && mkdir -p /usr/local/sbin && "
            f"ln -s /{PLACE}/bin/leadglass-guard /usr/local/sbin/"
        )

    def start(self) -> None:
        """Return once the guard has said that it is ready."""
        started = self._guest.run(["systemctl", "start", UNIT], check=False)
        if started.code != 0:
            raise LabError(f"the guard did not start: {started.err}{self.log()}")

    def stop(self) -> None:
        self._guest.run(["systemctl", "stop", UNIT])

    def kill(self) -> None:
        """Kill it as a fault would, and keep systemd from starting it again until `start`."""
        drop_in = f"/run/systemd/system/{UNIT}.d/lab.conf"
        self._guest.put(drop_in, b"[Service]\nRestart=no\n")
        self._guest.run(f"systemctl daemon-reload; systemctl kill --signal=KILL {UNIT}")
        until("the guard is dead", lambda: self.property("ActiveState") == "failed")
        self._guest.run(f"rm {drop_in}; systemctl daemon-reload; systemctl reset-failed {UNIT}")

    def property(self, name: str) -> str:
        return self._guest.run(["systemctl", "show", "--value", f"--property={name}", UNIT]).out.strip()

    def main_pid(self) -> int:
        return int(self.property("MainPID"))

    def resident_kib(self, kind: str = "VmRSS") -> int:
        """Return the resident memory of the guard itself now, or with `VmHWM` the most it ever was."""
        status = self._guest.read(f"/proc/{self.main_pid()}/status")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{kind}:"))

    def log(self) -> str:
        return self._guest.run(f"journalctl --no-pager --output=cat --unit {UNIT} | tail -30", check=False).out

    # ---- policy

    def offer(self, *rules: str | DeviceRule, expires_in: timedelta | None = None, **more: object) -> int:
        """Offer a signed policy with these rules over the guard's socket, and return its version."""
        self.version += 1
        signers = self._signed.signers
        signers.signed_at = SystemClock().now().replace(microsecond=0)
        signers.lasts = expires_in or timedelta(days=30)
        whole = DevicePolicy(tuple(rule if isinstance(rule, DeviceRule) else allowing(rule) for rule in rules))
        offer = self._signed.publish(self.version, replace(whole, **more))  # type: ignore[arg-type]  # names of fields
        self.ask(protocol.Offer(offer.head, offer.layers[0]))
        return self.version

    def signed_anew(self) -> Offer:
        """Return a newer policy without rules, signed and not offered."""
        return self._signed.publish(self.version + 1)

    def follow(self, *rules: str | DeviceRule, expires_in: timedelta | None = None, **more: object) -> None:
        """Offer a policy and wait until it is in force."""
        version = self.offer(*rules, expires_in=expires_in, **more)
        self._until(f"policy {version} is in force", lambda: self.report().policy == version)

    # ---- what it says

    def ask(self, request: Request) -> Answer:
        data = base64.b64encode(frame(protocol.encode_request(request), protocol.MAX_REQUEST_BYTES)).decode()
        answer = self._guest.ask("talk", path=SOCKET, data=data)
        return protocol.parse_answer(base64.b64decode(answer["data"]))

    def report(self) -> GuardReport:
        answer = self.ask(protocol.Report())
        assert isinstance(answer, protocol.Reported), answer
        return answer.report

    def records(self, *events: GuardEvent) -> list[GuardRecord]:
        """Return all records, or those of these events, oldest first."""
        return [record for record in self._records() if not events or record.event in events]

    def verdicts_s(self, port: str) -> list[float]:
        """Return when its records say that a verdict about the device there was carried out, since the epoch."""
        return [record.time.timestamp() for record in self.records(GuardEvent.ENFORCED) if record.subject == port]

    def device(self, port: str) -> DeviceState | None:
        return next((device for device in self.report().devices if device.port == port), None)

    def await_decided(self, port: str, authorized: Authorized, *, serial: str | None = None) -> DeviceState:
        """Wait until the guard reports this of the port, and return what it reports. Raises LabError."""

        found: list[DeviceState] = []

        def is_so() -> bool:
            device = self.device(port)
            found[:] = [device] if device is not None and device.authorized is authorized else []
            return bool(found) and serial in (None, found[0].serial)

        self._until(f"{port} is reported as authorized: {authorized}", is_so)
        return found[0]

    def await_record(self, event: GuardEvent, subject: str, *, after: int = 0) -> GuardRecord:
        """Wait for a record with a number above `after`. Raises LabError."""
        found: list[GuardRecord] = []

        def is_there() -> bool:
            found[:] = [r for r in self._records(after) if (r.event, r.subject) == (event, subject)]
            return bool(found)

        self._until(f"a record {event} of {subject}", is_there)
        return found[0]

    def last_record(self) -> int:
        return self.report().records

    def _records(self, after: int = 0) -> Iterator[GuardRecord]:
        while True:
            answer = self.ask(protocol.Records(after, protocol.MAX_RECORDS))
            assert isinstance(answer, protocol.Given), answer
            if not answer.records:
                return
            for data in answer.records:
                record = GuardRecord.parse(data)
                after = record.number
                yield record

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        try:
            until(what, holds, DECIDED_S, ASK_EVERY_S)
        except LabError as exc:
            raise LabError(f"{exc}\n{self.report()}\n{self.log()}") from None


def allowing(text: str) -> DeviceRule:
    return DeviceRule(parse_rule(text))


@lru_cache(maxsize=1)
def packed() -> bytes:
    """Return the project as a host has it, and its system files, as a tar of the guest's root."""
    files = {
        f"{folder}/{file.name}": file for pattern, folder in SYSTEM_FILES.items() for file in sorted(ROOT.glob(pattern))
    }
    return _packed(("shared", "edge_agent"), {"leadglass-guard": PROGRAM}, files)


@lru_cache(maxsize=1)
def package() -> bytes:
    """Return the project as its package lays it down: nothing outside its own folder, and nothing is activated."""
    programs = {
        name: PROGRAM.replace("edge_agent.guard_main", module)
        for name, module in (
            ("leadglass-agent", "edge_agent.__main__"),
            ("leadglass-guard", "edge_agent.guard_main"),
            ("leadglass-provision", "provisioning.__main__"),
            ("leadglass-wipe", "edge_agent.wipe_main"),
        )
    }
    files = {f"{PLACE}/{file.relative_to(ROOT)}": file for file in (ROOT / "systemd").rglob("*") if file.is_file()}
    return _packed(("shared", "control_plane/paper", "edge_agent", "provisioning"), programs, files)


@lru_cache(maxsize=1)
def library(*folders: str) -> bytes:
    """Return these folders of the project, for a program of a test's own."""
    return _packed(folders, {}, {f"{PLACE}/edge_agent/__init__.py": ROOT / "edge_agent" / "__init__.py"})


def _packed(packages: Sequence[str], programs: Mapping[str, str], files: Mapping[str, Path]) -> bytes:
    # Compressed: what goes through the port costs the guest more than to unpack it.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar, tempfile.TemporaryDirectory() as scratch:
        for name in packages:
            for file in sorted((ROOT / name).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    _add(tar, f"{PLACE}/{file.relative_to(ROOT)}", file.read_bytes())
                    if file.suffix == ".py":
                        _add_compiled(tar, file, Path(scratch) / "compiled")
        for name, text in programs.items():
            _add(tar, f"{PLACE}/bin/{name}", text.encode(), 0o755)
        for path, file in sorted(files.items()):
            _add(tar, path, file.read_bytes())
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _add_compiled(tar: tarfile.TarFile, file: Path, scratch: Path) -> None:
    """Compiling takes an emulated machine seconds. A guest of another Python than ours compiles for itself."""
    name = Path(importlib.util.cache_from_source(str(file.relative_to(ROOT))))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(file), str(scratch), f"/{PLACE}/{file.relative_to(ROOT)}", True, 0, mode)
    _add(tar, f"{PLACE}/{name}", scratch.read_bytes())
