"""Judges what was seen of a machine: fit to be a protected host or not, and what to do.

What is *advised* makes a host better protected, and a host without it is one all the same; everything else is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from edge_agent.export_folder import lies_on
from edge_agent.host_watch.observations import Place
from provisioning.finding import Finding, Verdict
from provisioning.preflight.facts import Facts, Network, Port, Reached, System
from provisioning.site import Site
from shared.devices.printable import printable

# Disks are numbered (diskseq), which the guard's udev rules go by, from 5.15 on; filters of a cgroup join from 4.15 on.
_KERNEL_OF_GUARD, _KERNEL_OF_AGENT = (5, 15), (4, 15)
_SYSTEMD = 250  # the first with systemd-creds and a TPM
_MOST_OFFSET = timedelta(seconds=30)
_TOTAL_MIB, _AVAILABLE_MIB = 900, 300
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PLAIN_FIX = "encrypt it (LUKS), or put /var/lib/leadglass on a disk that is"
ADVISED = frozenset({
    "boot-parameter", "disk-encryption", "swap-encryption", "tpm", "tpm-account", "time-zone", "cgroup-bpf",
    "modality-ports", "modality-disks", "clock-kept", "centre-broker",
})  # fmt: skip
_MOST_CHARS = 400


@dataclass(frozen=True)
class Preflight:
    findings: tuple[Finding, ...]

    @property
    def is_ready(self) -> bool:
        """Return whether everything needed passed."""
        return all(one.verdict is Verdict.PASS for one in self.findings if is_needed(one))


def is_needed(finding: Finding) -> bool:
    return finding.check not in ADVISED


def evaluate(site: Site, facts: Facts) -> Preflight:
    found = [
        *_system(site, facts.system),
        *_usb(site, facts),
        *_clock(facts),
        *_disks(site, facts),
        _memory(facts),
        *_tpm(facts),
        *_ports(site, facts.network),
        *_centre(facts.network),
        *_peers(site, facts.network),
    ]
    return Preflight(tuple(found))


def _system(site: Site, system: System) -> Iterator[Finding]:
    least = _KERNEL_OF_GUARD if site.guard else _KERNEL_OF_AGENT
    wanted = f"{least[0]}.{least[1]} or later"
    version = _version(system.kernel)
    if version is None:
        yield _unknown("kernel", "its version cannot be read from /proc/sys/kernel/osrelease")
    else:
        yield _judge("kernel", version >= least, f"{system.kernel}; {wanted} is needed", "upgrade the kernel")
    if site.guard:
        fix = "start systemd-udevd; the guard decides only after its rules"
        yield _judge("udev", system.udev_runs, _runs("systemd-udevd", runs=system.udev_runs), fix)
    yield _systemd(system)
    yield _judge(
        "cgroup-v2", system.has_cgroup2, f"/sys/fs/cgroup is {'' if system.has_cgroup2 else 'not '}the unified one",
        "start with systemd.unified_cgroup_hierarchy=1; without it no limit of the services holds",
    )  # fmt: skip
    if system.has_cgroup_bpf is None:
        reason = f"there is no /boot/config-{system.kernel}, so nobody can tell whether IPAddressDeny will hold"
        yield _unknown("cgroup-bpf", reason, "`grep CGROUP_BPF` in the kernel's configuration, wherever it lies")
    else:
        yield _judge(
            "cgroup-bpf", system.has_cgroup_bpf, f"CONFIG_CGROUP_BPF is {'y' if system.has_cgroup_bpf else 'not set'}",
            "take a kernel that has it; without it IPAddressDeny of the services does nothing",
        )  # fmt: skip
    if system.time_zone:
        yield _passed("time-zone", system.time_zone)
    else:
        yield _unknown(
            "time-zone", "none is set, so hours of a device policy are hours of UTC", "timedatectl set-timezone"
        )


def _systemd(system: System) -> Finding:
    if system.systemd is None:
        return _failed("systemd", "there is none", f"Leadglass runs as services of systemd {_SYSTEMD} or later")
    fix = f"upgrade to systemd {_SYSTEMD} or later" if system.systemd < _SYSTEMD else "start this machine with systemd"
    reason = f"{system.systemd}, {_runs('it', runs=system.systemd_runs)}; {_SYSTEMD} or later is needed"
    return _judge("systemd", system.systemd >= _SYSTEMD and system.systemd_runs, reason, fix)


def _usb(site: Site, facts: Facts) -> Iterator[Finding]:
    if not site.guard:
        return
    usb, name = facts.usb, "boot-parameter"
    pinned = f"{usb.pinned} console devices are pinned"
    if usb.authorized_default is None:
        yield _unknown(name, "this kernel has no usbcore, or it is not loaded")
    elif usb.pins_unreadable:
        yield _failed(name, usb.pins_unreadable, "run `leadglass-guard pin-console` again")
    elif usb.authorized_default != 0:
        yield _passed(name, f"usbcore.authorized_default is {usb.authorized_default}: nothing is denied yet, {pinned}")
    else:
        reason = f"usbcore.authorized_default is 0, and {pinned}"
        fix = "pin the console before this machine is started again, or take the parameter away: no keyboard works then"
        yield _judge(name, usb.pinned > 0, reason, fix)


def _clock(facts: Facts) -> Iterator[Finding]:
    fix = "have systemd-timesyncd or chrony keep it, from the hospital's time server"
    if facts.clock is None:
        yield _unknown("clock-kept", facts.clock_unseen)
    elif facts.clock.is_synchronised:
        yield _passed("clock-kept", f"the kernel says so; off by {facts.clock.max_error_us // 1000} ms at most")
    else:
        yield _failed("clock-kept", "the kernel says that nothing keeps the clock", fix)
    seen = facts.network.centre_clock
    if seen.date is None or seen.ours is None:
        yield _unknown("clock-offset", seen.unseen, "reach the centre first")
        return
    # The Date is cut to the second, and was written while we waited.
    off = max(abs(seen.date - seen.ours) - seen.took - timedelta(seconds=1), timedelta())
    reason = f"off by {off.total_seconds():.0f} s from what answers at the centre's address, which proved nothing yet"
    yield _judge(
        "clock-offset", off <= _MOST_OFFSET, reason, f"set the clock, then {fix}: certificates are judged by it"
    )


def _disks(site: Site, facts: Facts) -> Iterator[Finding]:
    disks = facts.disks
    yield _place("disk-encryption", disks.spool)
    if disks.swaps_unseen:
        yield _unknown("swap-encryption", disks.swaps_unseen)
    elif not disks.swaps:
        yield _passed("swap-encryption", "there is no swap")
    else:
        yield min((_place("swap-encryption", swap) for swap in disks.swaps), key=lambda one: _WORST.index(one.verdict))
    if disks.spool.lies_on == lies_on.MEMORY:
        reason = f"{disks.spool.name} lies in memory: images that were acknowledged are gone when the power is"
        yield _failed("free-space", reason, "put it on a disk; sealed images lie there until the vault has them")
    elif disks.space.unseen:
        yield _unknown("free-space", f"{disks.space.folder}: {disks.space.unseen}")
    else:
        free_gib = disks.space.free_bytes >> 30
        reason = f"{free_gib} GiB free at {disks.space.folder}; a day needs {site.day_gib}"
        fix = "make room or take a larger disk; if a day brings less here, say so with --day-gib"
        yield _judge("free-space", free_gib >= site.day_gib, reason, fix)
    if site.sidecar:
        yield _unknown("modality-disks", "this is a box beside the modality, whose disks it cannot see")


def _place(name: str, place: Place) -> Finding:
    reason = f"{place.name}: {place.lies_on}" + f" ({place.detail})" * bool(place.detail)
    if place.lies_on in (lies_on.ENCRYPTED, lies_on.MEMORY):
        return _passed(name, reason)
    if place.lies_on == lies_on.PLAIN:
        return _failed(name, reason, _PLAIN_FIX)
    return _unknown(name, reason, "ask whoever runs that storage")


def _memory(facts: Facts) -> Finding:
    if facts.memory is None:
        return _unknown("memory", "/proc/meminfo cannot be read")
    seen = facts.memory
    reason = f"{seen.total_mib} MiB, {seen.available_mib} of them available"
    enough = seen.total_mib >= _TOTAL_MIB and seen.available_mib >= _AVAILABLE_MIB
    return _judge("memory", enough, reason, f"{_TOTAL_MIB} MiB, and {_AVAILABLE_MIB} available, are needed")


def _tpm(facts: Facts) -> Iterator[Finding]:
    tpm = facts.tpm
    if tpm.version is None:
        yield _failed("tpm", "the kernel shows none", "switch it on in the firmware (PTT, fTPM, security device)")
        return
    reason = f"TPM {tpm.version}, {'with' if tpm.has_device else 'without'} /dev/tpmrm0"
    yield _judge(
        "tpm", tpm.version == 2 and tpm.has_device, reason, "a TPM 2.0 is needed; a file holds the keys otherwise"
    )
    if not tpm.has_account:
        yield _unknown("tpm-account", "there is no account leadglass yet; `install` makes it")
    else:
        reason = f"the account leadglass is {'' if tpm.account_may else 'not '}in the group tss"
        fix = "usermod --append --groups tss leadglass, and install libtss2-esys-3.0.2-0 (it brings the group)"
        yield _judge("tpm-account", tpm.account_may, reason, fix)


def _ports(site: Site, network: Network) -> Iterator[Finding]:
    if site.sidecar and site.dicom_host in _LOOPBACK:
        reason = f"{site.dicom_host} is this box alone, and the modality is not on it"
        yield _failed("dicom-port", reason, "say --dicom-host with the address that the modality reaches")
    else:
        yield _port("dicom-port", site.dicom_host, site.dicom_port, network.dicom)
    if network.dicom_tls is not None and site.dicom_tls_port is not None:
        yield _port("dicom-tls-port", site.dicom_host, site.dicom_tls_port, network.dicom_tls)
    if site.sidecar:
        yield _unknown("modality-ports", "this is a box beside the modality, whose ports it cannot see")


def _port(name: str, host: str, number: int, port: Port) -> Finding:
    at = f"{host}:{number}"
    if port.why:
        return _failed(
            name, f"{at} cannot be listened on: {port.why}", "is it an address of this machine? --dicom-host"
        )
    if port.is_ours:
        return _passed(name, f"{at} is our agent's already")
    if port.taken_by:
        return _failed(name, f"{at} is taken by {port.taken_by}", "end that program, or choose another --dicom-port")
    if port.only_root:
        reason = f"{at} is free, and the agent's account, which has no capability, may not listen there"
        fix = f"choose another --dicom-port, or net.ipv4.ip_unprivileged_port_start={number} in /etc/sysctl.d"
        return _failed(name, reason, fix)
    return _passed(name, f"{at} is free")


def _centre(network: Network) -> Iterator[Finding]:
    fix = "check cable, address and firewall; nothing here needs the internet"
    for name, reached in (("enrolment", network.enrolment), ("hosts", network.hosts), ("broker", network.broker)):
        yield _answers(f"centre-{name}", reached, fix)


def _peers(site: Site, network: Network) -> Iterator[Finding]:
    if not site.peers:
        # Nobody was named, so there is nobody whom it could be needed to reach.
        return
    fix = f"AE titles on both sides ({site.ae_title} calls), address, port, firewall"
    for number, reached in enumerate(network.echoes, start=1):
        yield _answers(f"dicom-echo-{number}", reached, fix)


def _answers(name: str, reached: Reached, fix: str) -> Finding:
    if reached.why:
        return _failed(name, f"{reached.address}: {reached.why}", fix)
    return _passed(name, f"{reached.address} answers")


# ---- one finding

_WORST: Sequence[Verdict] = (Verdict.FAIL, Verdict.NOT_EVALUATED, Verdict.PASS)


def _judge(check: str, holds: bool, reason: str, fix: str) -> Finding:  # noqa: FBT001 (what is judged)
    return _passed(check, reason) if holds else _failed(check, reason, fix)


def _passed(check: str, reason: str) -> Finding:
    return Finding(check, Verdict.PASS, printable(reason, _MOST_CHARS))


def _failed(check: str, reason: str, fix: str) -> Finding:
    return Finding(check, Verdict.FAIL, printable(reason, _MOST_CHARS), fix)


def _unknown(check: str, reason: str, fix: str = "") -> Finding:
    return Finding(check, Verdict.NOT_EVALUATED, printable(reason, _MOST_CHARS), fix)


def _runs(what: str, *, runs: bool) -> str:
    return f"{what} {'runs' if runs else 'does not run'}"


def _version(kernel: str) -> tuple[int, int] | None:
    major, _, rest = kernel.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
