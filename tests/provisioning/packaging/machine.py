"""A machine of its own to install packages on: this one's files, below a layer in memory.

Its processes, mounts and changes end with it. It has the network of this machine, so that an agent there reaches a
centre in the test. In place of systemd stands `systemctl` beside this file.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import psutil

_STANDIN = Path(__file__).with_name("systemctl")
_MOUNT = """
set -e
mount -t tmpfs tmpfs "$1/layer"
mkdir "$1/layer/upper" "$1/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mkdir -p "$1/root/run/systemd/system" "$1/root/run/standin" "$1/root/etc/standin" "$1/root/given"
mkdir -p "$1/root/var/lib/leadglass"
mount --bind "$1/given" "$1/root/given"
mount --bind "$1/state" "$1/root/var/lib/leadglass"
cp "$2" "$1/root/usr/bin/systemctl"
echo ready
# This shell is process 1 there, and has to see to what ended.
sleep infinity &
wait
"""
AGENT = "leadglass-agent.service"


class Machine:
    """`state` is its /var/lib/leadglass, `given` its /given, as the test sees them."""

    def __init__(self, folder: Path, first: int) -> None:
        self.state, self.given, self._root, self._first = folder / "state", folder / "given", folder / "root", first

    def command(self, *command: str) -> list[str]:
        return ["nsenter", "--mount", "--pid", f"--target={self._first}", "chroot", self._root.as_posix(), *command]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*command), capture_output=True, text=True, check=False, timeout=120)

    def kill_dpkg_once(self, package: Path, condition: Callable[[], bool]) -> None:
        """Begin to install, and have dpkg and the script that it runs end as by a power cut once `condition` holds."""
        command = self.command("dpkg", "--install", self.lend(package))
        begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not condition():
            assert begun.poll() is None, "dpkg ended before it could be killed"
        for process in psutil.Process(begun.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if "systemctl" not in " ".join(process.cmdline()):  # what it asks for is done by another process
                    process.kill()
        begun.wait()

    def done(self, *command: str) -> str:
        """Return what a command says; it has to succeed."""
        ran = self.run(*command)
        assert ran.returncode == 0, f"{command} ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def install(self, package: Path) -> "subprocess.CompletedProcess[str]":
        return self.run("dpkg", "--install", self.lend(package))

    def lend(self, file: Path) -> str:
        """Return where the machine finds a file of ours."""
        if not (self.given / file.name).exists():
            shutil.copy(file, self.given)
        return f"/given/{file.name}"

    def sees(self, path: str) -> Path:
        """Return where the test sees a path of the machine."""
        return Path(f"/proc/{self._first}/root{self._root}{path}")

    def has_unit(self, unit: str, script: str) -> None:
        """Have a service that `systemctl` can start; it is up when its ready file is there."""
        self.done("sh", "-c", 'printf %s "$2" >"/etc/standin/$1"', "sh", unit, script)

    def asked_of_systemd(self) -> list[str]:
        return self.done("cat", "/run/standin/log").splitlines()

    def agent_listens(self, dicom_port: int, first: str = "") -> None:
        """Have the agent of the package as a service, and start it. `first` is what its unit does before."""
        ready = f"/run/standin/{AGENT}.ready"
        self.has_unit(
            AGENT,
            f"{first}\nexec /opt/leadglass/bin/leadglass-agent run --data /var/lib/leadglass "
            f"--dicom-port {dicom_port} --ready-file {ready}",
        )
        self.done("systemctl", "start", AGENT)

    def runs_from(self) -> str:
        """Return the environment that the running agent is of."""
        pid = json.loads(self.done("cat", f"/run/standin/{AGENT}.ready"))["pid"]
        return self.done("cat", f"/proc/{pid}/cmdline").split("\0")[0].removesuffix("/bin/python")

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        for _ in range(int(timeout_s / 0.02)):
            if condition():
                return
            Event().wait(0.02)
        raise AssertionError(f"it did not happen: {self.run('cat', f'/run/standin/{AGENT}.out').stdout[-2000:]}")


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Yield a machine that lies in the new folder `folder`; needs root."""
    for name in ("layer", "root", "state", "given"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    unshare: Sequence[str] = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *unshare, "sh", "-c", _MOUNT, "sh", str(folder), str(_STANDIN)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "this needs root, and a kernel with overlayfs"
        yield Machine(folder, psutil.Process(process.pid).children()[0].pid)
    finally:
        process.kill()
        process.communicate()
