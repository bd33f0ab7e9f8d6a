"""The options by which an engineer names a site file, or says what stands in one."""

import argparse
from pathlib import Path

from provisioning.site import KEYS, parse_file
from shared.canonical import Json
from shared.errors import Malformed

_MOST_BYTES = 64 * 1024
# Option: the field, its metavar, what it is. All but the flags and lists.
_TEXTS = {
    "--url": ("centre", "https://CENTRE:8441", "the centre's enrolment door"),
    "--asset": ("asset", "NAME", "the asset that the code was issued for, as it stands with the code"),
    "--ae-title": ("ae_title", "TITLE", "our own AE title [LEADGLASS]"),
    "--dicom-host": ("dicom_host", "ADDRESS", "where modalities reach this host [127.0.0.1]"),
    "--engineer": ("engineer", "NAME", "who makes this visit"),
    "--received-by": ("received_by", "NAME", "who takes this host over"),
    "--policy-root": ("policy_root", "SHA256", "what `leadglass-server policy root` prints, to be compared"),
}
_NUMBERS = {
    "--dicom-port": ("dicom_port", "the port for modalities [11112]"),
    "--dicom-tls-port": ("dicom_tls_port", "the port for modalities that speak TLS [none]"),
    "--hosts-port": ("hosts_port", "the centre's door for hosts [8442]"),
    "--broker-port": ("broker_port", "the centre's broker [8883]"),
    "--day-gib": ("day_gib", "how many GiB of images a day may bring [20]"),
}
_LISTS = {
    "--modalities": ("modalities", "10.1.2.0/24", "a network from which modalities call (repeatable)"),
    "--archive": ("archives", "ADDRESS", "an archive that this host forwards to (repeatable)"),
    "--export-folder": ("export_folders", "AE_TITLE=PATH", "into which a modality exports files (repeatable)"),
    "--peer": ("peers", "AE_TITLE@HOST:PORT", "a modality or archive that answers a C-ECHO (repeatable)"),
    "--console-port": ("console_ports", "1-2.4", "the USB port of this machine's keyboard or pointer (repeatable)"),
}
_FLAGS = {
    "guard": "this host gets the device guard too",
    "sidecar": "this is a box beside the modality, whose own ports and disks it cannot see",
    "deny-by-default": "once the console is pinned, nothing else on the USB works by itself",
    "no-usb-console": "this machine has no keyboard and no mouse on the USB, ever",
}

_FIELDS = (
    *(named[0] for table in (_TEXTS, _NUMBERS, _LISTS) for named in table.values()),
    *(flag.replace("-", "_") for flag in _FLAGS),
    "keys",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the site")
    group.add_argument("--site-file", type=Path, metavar="FILE", help="what is written down of this site, in TOML")
    for option, (field, metavar, what) in _TEXTS.items():
        group.add_argument(option, dest=field, metavar=metavar, help=what)
    for option, (field, what) in _NUMBERS.items():
        group.add_argument(option, dest=field, type=int, metavar="NUMBER", help=what)
    for option, (field, metavar, what) in _LISTS.items():
        group.add_argument(option, dest=field, action="append", metavar=metavar, help=what)
    for flag, what in _FLAGS.items():
        group.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, default=None, help=what)
    group.add_argument("--keys", choices=KEYS, help="what protects the host's private keys [auto]")
    group.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)


def given(options: argparse.Namespace) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return what the site file says, none if there is none, and what the options say. Raises Malformed, OSError."""
    options_say = {field: value for field in _FIELDS if (value := getattr(options, field)) is not None}
    return _file(options.site_file) if options.site_file is not None else {}, options_say


def _file(file: Path) -> dict[str, Json]:
    with file.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    what = f"site file {file}"
    if len(data) > _MOST_BYTES:
        raise Malformed(what, f"larger than {_MOST_BYTES} bytes")
    try:
        return parse_file(data.decode())
    except UnicodeDecodeError as exc:
        raise Malformed(what, "not UTF-8") from exc
    except Malformed as exc:
        raise Malformed(what, f"not TOML, in which text stands in quotes: {exc.why}") from exc
