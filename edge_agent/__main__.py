"""leadglass-agent: protects the images of one modality host.

The only place of exit codes: 0 done, 1 refused, 2 usage or bad input, 3 something it needs does not answer.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import VERSION

if TYPE_CHECKING:
    from edge_agent.config import AgentFolder

_OK, _REFUSED, _USAGE, _UNAVAILABLE = range(4)

_DESCRIPTION = """\
Leadglass agent: seals every image that a modality sends, delivers it to the vault, and follows signed policy.

A host's life:
  leadglass-agent enrol  --data DIR --url https://CENTRE:PORT --asset "CT 2, room 1.14"   (the code is read from stdin)
  leadglass-agent run    --config /etc/leadglass/agent.toml   (or --data DIR and other options)
  leadglass-agent status --data DIR
  leadglass-agent keys move --data DIR --to tpm           (into this machine's TPM; `enrol` does so where there is one)

A dead host's spool, taken along to another one:
  leadglass-agent spool export --data OLD_DIR FOLDER      (its own folder, or its disk mounted here)
  leadglass-agent spool import --data DIR FOLDER          (an enrolled host that an administrator allowed to deliver it)
  leadglass-agent spool rescue --data DIR OLD_DIR         (where the old host's keys went with its TPM)

DICOM over TLS: run with --dicom-tls-port 2762; `leadglass-agent dicom-certificate --data DIR` prints the certificate
that modalities have to trust, and policy says whose certificates are trusted here (dicom_trust) and whose is whose.

Archives that policy serves by way of this host have to trust the same certificate; `leadglass-agent forward list
--data DIR` shows what waits for them.

What waits for the vault, or was put aside:
  leadglass-agent spool list   --data DIR
  leadglass-agent spool verify --data DIR     (reads everything; cannot open it)

Until the first policy is accepted the DICOM port stays closed, so that the modality takes its documented fallback
route. Log lines are JSON on stderr and never hold patient data.
"""

_EPILOG = "exit codes: 0 done, 1 refused, 2 usage or bad input, 3 something it needs does not answer"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command_line().parse_args(argv)
    # Imported here so that --help answers at once.
    from edge_agent.log import JsonLog, where, why
    from shared.clock import SystemClock
    from shared.enrolment.code import CodeUnreadable
    from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable

    commands = {
        "enrol": _enrol,
        "keys": _keys,
        "claim": _claim,
        "run": _run,
        "status": _status,
        "dicom-certificate": _dicom_certificate,
        "forward": _forward,
        "spool": _spool,
    }
    try:
        commands[arguments.command](arguments)
    except (Refused, IntegrityFailure, Unavailable) as exc:
        sys.stderr.write(f"leadglass-agent {arguments.command}: {exc}\n")
        if isinstance(exc, Unavailable):
            return _UNAVAILABLE
        return _USAGE if isinstance(exc, Malformed | CodeUnreadable) else _REFUSED
    except KeyboardInterrupt:
        return _REFUSED
    # The last resort: whatever was not foreseen ends the command with its place in the log and no foreign text.
    except Exception as exc:  # noqa: BLE001
        JsonLog(SystemClock()).event("agent.failed", why=why(exc), where=where(exc))
        return _UNAVAILABLE
    return _OK


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "leadglass-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    enrol = commands.add_parser("enrol", help="give this host its identity, with a one-time code", epilog=_EPILOG)
    _add_data(enrol)
    enrol.add_argument("--url", required=True, help="the centre's enrolment door, https://HOST:PORT")
    enrol.add_argument("--asset", required=True, help="the asset that the code was issued for, as it came with it")
    code = enrol.add_mutually_exclusive_group()
    code.add_argument("--code", help="the code itself; it then shows in the process list, so prefer stdin")
    code.add_argument("--code-file", type=Path, help="a file that holds the code; without either it is read from stdin")

    enrol.add_argument(
        "--keys",
        choices=("auto", "tpm", "file"),
        default="auto",
        help="what protects the private keys: this machine's TPM, or a file's permissions; auto: the TPM if it answers "
        "(%(default)s)",
    )

    _add_run(commands.add_parser("run", help="capture, deliver and follow policy until SIGTERM", epilog=_EPILOG))

    status = commands.add_parser("status", help="counts, policy version and certificate expiry", epilog=_EPILOG)
    _add_data(status)
    status.add_argument("--json", action="store_true", help="one JSON object instead of text")

    claim = commands.add_parser("claim", help="say who this host is, for a centre that lost it", epilog=_EPILOG)
    _add_data(claim)
    claim.add_argument("--out", type=Path, required=True, metavar="FILE", help="what an administrator takes it back by")
    certificate = commands.add_parser(
        "dicom-certificate",
        help="print the certificate that modalities see on the TLS port, made first if there is none",
        epilog=_EPILOG,
    )
    _add_data(certificate)
    certificate.add_argument(
        "--dicom-host", default="127.0.0.1", help="the address modalities use, named in a new certificate (%(default)s)"
    )
    keys = commands.add_parser("keys", help="what protects this host's private keys", epilog=_EPILOG)
    moving = keys.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "move", help="into this machine's TPM or out of it, whole or not at all; with the agent stopped", epilog=_EPILOG
    )
    _add_data(moving)
    moving.add_argument("--to", choices=("tpm", "file"), required=True, help="where the keys are to be")
    _add_forward(commands.add_parser("forward", help="images that wait here for an archive", epilog=_EPILOG))
    _add_spool(
        commands.add_parser(
            "spool", help="sealed images that lie here; and what a dead host left behind, taken along", epilog=_EPILOG
        )
    )
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--config", type=Path, metavar="FILE", help="what people settled; an option here wins over it")
    run.add_argument("--data", type=Path, help="the agent's folder; needed without --config")
    run.add_argument("--dicom-host", help="address to listen on for modalities (127.0.0.1)")
    run.add_argument("--dicom-port", type=_port, help="port, 0 for any free one (11112)")
    run.add_argument(
        "--dicom-tls-port",
        type=_port,
        help="port for DICOM over TLS, beside the other one; 2762 is the registered one (off unless given)",
    )
    run.add_argument("--ae-title", type=_ae_title, help="our own AE title (LEADGLASS)")
    run.add_argument(
        "--export-folder",
        action="append",
        metavar="AE_TITLE=PATH",
        help="a folder into which this modality exports files; policy says what becomes of them (repeatable)",
    )
    run.add_argument(
        "--guard-socket",
        type=Path,
        help="where the device guard of this host listens (/run/leadglass-guard/guard.sock)",
    )
    run.add_argument("--ready-file", type=Path, help="write host id, pid and DICOM port there, as JSON, when up")


def _add_spool(spool: argparse.ArgumentParser) -> None:
    from edge_agent.spool.commands import add_actions

    actions = spool.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_actions(actions, _EPILOG)
    for action, what in (
        ("export", "write everything that the vault does not have into a new folder; nothing is deleted"),
        ("import", "take such a folder in, and deliver it when the agent runs; may be repeated"),
    ):
        moving = actions.add_parser(action, help=what, epilog=_EPILOG)
        moving.add_argument("folder", type=Path, metavar="FOLDER", help="the export")
        moving.set_defaults(act=_move_spool)
    rescue = actions.add_parser(
        "rescue",
        help="take in what lies in the folder of a host whose keys were in a TPM that is gone; may be repeated",
        epilog=_EPILOG,
    )
    rescue.add_argument("old", type=Path, metavar="OLD_DIR", help="that host's data folder")
    rescue.set_defaults(act=_rescue_spool)
    for parser in actions.choices.values():
        _add_data(parser)


def _add_forward(forward: argparse.ArgumentParser) -> None:
    actions = forward.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="what waits, for which archive, and why", epilog=_EPILOG)
    _add_data(listing)
    listing.add_argument("--json", action="store_true", help="one JSON object instead of text")

    retry = actions.add_parser("retry", help="try again, within a minute, what an archive refused", epilog=_EPILOG)
    _add_data(retry)
    retry.add_argument("route", help="the route's name")

    drop = actions.add_parser("drop", help="never send from here what waits; the vault keeps its own", epilog=_EPILOG)
    _add_data(drop)
    drop.add_argument("route", help="the route's name")
    which = drop.add_mutually_exclusive_group(required=True)
    which.add_argument("--object", help="one object id, as `list` shows it")
    which.add_argument("--all", action="store_true", help="everything that waits for this route")
    drop.add_argument("--reason", required=True, help="why; sealed into the audit record, beside your account's name")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="the agent's folder")


def _enrol(arguments: argparse.Namespace) -> None:
    from edge_agent.enrol.enroller import enrol
    from edge_agent.enrol.machine import machine_digests
    from edge_agent.host_keys.commands import ENDS, choose_protection
    from edge_agent.host_keys.store import vault_of
    from shared.enrolment.code import EnrolmentCode
    from shared.fleet.keys import KeyProtection

    if arguments.code is not None:
        text = arguments.code
    elif arguments.code_file is not None:
        text = _read_code(arguments.code_file)
    else:
        text = sys.stdin.readline()
    code, chosen = EnrolmentCode.parse(text), choose_protection(arguments.keys)
    host_id = enrol(
        _folder(arguments), arguments.url, code, arguments.asset, machine_digests(), vault=vault_of(chosen.protection)
    )
    sys.stdout.write(f"enrolled as {host_id}\nkeys: {chosen.protection.in_words}: {chosen.why}\n")
    if chosen.protection is KeyProtection.TPM:
        sys.stdout.write(f"{ENDS}\n")


def _claim(arguments: argparse.Namespace) -> None:
    # Not needed by a host that serves.
    from edge_agent.enrol.claiming import write_claim
    from edge_agent.enrol.machine import machine_digests
    from shared.clock import SystemClock

    host_id = write_claim(_folder(arguments), machine_digests(), SystemClock().now(), arguments.out)
    sys.stdout.write(
        f"{arguments.out}: who {host_id} is, signed; it holds no key. At the centre: leadglass-server host take-back "
        f"{arguments.out.name} --reason TEXT\n"
    )


def _keys(arguments: argparse.Namespace) -> None:
    import os

    from edge_agent.host_keys.commands import move_keys
    from shared.clock import SystemClock
    from shared.fleet.keys import KeyProtection

    os.umask(0o077)
    for line in move_keys(_folder(arguments), KeyProtection(arguments.to), SystemClock()):
        sys.stdout.write(f"{line}\n")


def _run(arguments: argparse.Namespace) -> None:
    import logging
    import warnings

    from edge_agent.agent import Settings, run
    from edge_agent.capture.listener import Address
    from edge_agent.config import AgentFolder
    from edge_agent.export_folder.named import parse as parse_export_folder
    from edge_agent.export_folder.named import verify_apart
    from edge_agent.log import JsonLog
    from edge_agent.settings_file.chosen import chosen
    from shared.clock import SystemClock

    settled = chosen(arguments)
    data = Path(settled.data).absolute()
    exports = tuple(parse_export_folder(f"{folder.ae_title}={folder.path}") for folder in settled.export_folders)
    verify_apart(exports, data)
    # Libraries quote what they read in warnings and log lines, and what they read here are patients' images.
    logging.disable()
    warnings.simplefilter("ignore")
    address = Address(settled.dicom_host, settled.dicom_port, settled.ae_title, settled.dicom_tls_port)
    clock = SystemClock()
    settings = Settings(AgentFolder(data), address, arguments.ready_file, exports, Path(settled.guard_socket))
    run(settings, clock, JsonLog(clock))


def _status(arguments: argparse.Namespace) -> None:
    import json

    from edge_agent.health.local import read_status
    from shared.fleet.budget import judge

    read = read_status(_folder(arguments))
    status = read.json()
    if arguments.json:
        sys.stdout.write(json.dumps(status) + "\n")
        return
    for listed in (
        "policy_layers",
        "standing",
        "routes",
        "export_folders",
        "moved",
        "spool_quota_bytes",
        "spool_used_percent",
    ):
        del status[listed]
    if not read.receipts_in_doubt:
        del status["receipts_in_doubt"]
    used = read.spool_used_percent
    of_quota = "no quota" if used is None else f"{used} % of the {read.spool_quota_bytes} that policy lets it hold"
    status["keys"] = read.keys.in_words
    status["spool_bytes"] = f"{read.spool_bytes}, {of_quota}"
    status["centre_log"] = read.centre_log or "goes on from there"
    status["centre_log_checkpoint"] = " ".join(read.centre_log_checkpoint.split("\n")[:3])
    status["budget"] = judge(read.budget).line()
    for name, value in status.items():
        sys.stdout.write(f"{name.replace('_', ' '):20} {value}\n")
    for line in read.standing.lines():
        sys.stdout.write(f"{'standing':20} {line}\n")
    for layer in read.layers:
        sys.stdout.write(f"{'policy layer':20} {layer.layer}: accepted {layer.accepted}, in force {layer.in_force}\n")
    for route in read.routes:
        error = f"; {route.error}" if route.error else ""
        sys.stdout.write(f"{f'route {route.name}':20} {route.waiting} waiting{error}\n")
    for folder in read.export_folders:
        name = f"export folder {folder.ae_title}"
        counts = f"{folder.waiting} waiting, {folder.refused} left alone"
        sys.stdout.write(f"{name:20} on {folder.lies_on}; {folder.reading}; {counts}; {folder.time}\n")
    for moved in read.moved:
        held_up = f"; {moved.why}" if moved.why else ""
        sys.stdout.write(
            f"{'brought here':20} {moved.objects} objects and {moved.records} audit records of {moved.host} wait"
            f"{held_up}\n"
        )


def _forward(arguments: argparse.Namespace) -> None:
    {"list": _forward_list, "retry": _forward_retry, "drop": _forward_drop}[arguments.action](arguments)


def _forward_list(arguments: argparse.Namespace) -> None:
    import json

    from edge_agent.forward.local import read_listing

    listing = read_listing(_folder(arguments))
    if arguments.json:
        sys.stdout.write(json.dumps(listing.json()) + "\n")
        return
    sys.stdout.write(f"openable on this host: {listing.openable_here}\n")
    for route in listing.routes:
        owed = [row for row in listing.owed if row.route == route.route]
        since = f" since {owed[0].queued}" if owed else ""
        last = f", the last at {route.last_delivered}" if route.last_delivered else ""
        sys.stdout.write(f"{route.route}: {len(owed)} waiting{since}; {route.delivered} delivered{last}\n")
        if route.why:
            sys.stdout.write(f"  failing since {route.failing_since}, next try {route.next_try}: {route.why}\n")
        for row in owed:
            if row.why:
                again = f", next try {row.next_try}" if row.next_try else ""
                sys.stdout.write(f"  {row.object} {row.state}, {row.tries} tries{again}: {row.why}\n")


def _forward_retry(arguments: argparse.Namespace) -> None:
    from edge_agent.beside import account
    from edge_agent.forward.local import opened_queue

    with opened_queue(_folder(arguments)) as queue:
        count = queue.retry(arguments.route, account())
    refused = f"{count} of it the archive had refused"
    sys.stdout.write(f"route {arguments.route}: all that waits is tried again within a minute; {refused}\n")


def _forward_drop(arguments: argparse.Namespace) -> None:
    from edge_agent.beside import account
    from edge_agent.forward.local import opened_queue
    from shared.errors import Malformed
    from shared.identity import ObjectId

    if not arguments.reason.strip():
        raise Malformed("reason", "it says nothing")
    object_id = ObjectId.parse(arguments.object) if arguments.object is not None else None
    with opened_queue(_folder(arguments)) as queue:
        count = queue.drop(arguments.route, object_id, account(), arguments.reason)
    sys.stdout.write(f"route {arguments.route}: {count} images are not sent from this host any more\n")


def _spool(arguments: argparse.Namespace) -> None:
    arguments.act(_folder(arguments), arguments)


def _dicom_certificate(arguments: argparse.Namespace) -> None:
    import os

    from cryptography.hazmat.primitives.serialization import Encoding

    from edge_agent.capture.certificate import DicomCertificate, fingerprint, names_of
    from edge_agent.config import load_enrolment
    from edge_agent.host_keys.store import HostKeyStore, vault_of
    from edge_agent.log import JsonLog
    from shared.clock import SystemClock, text

    os.umask(0o077)
    folder, clock = _folder(arguments), SystemClock()
    keys = HostKeyStore(folder.identity, vault_of(load_enrolment(folder).config.keys))
    certificate = DicomCertificate(keys, names_of(arguments.dicom_host), clock, JsonLog(clock)).ensure()
    sys.stdout.write(
        f"SHA-256 {fingerprint(certificate)}\n"
        f"valid until {text(certificate.not_valid_after_utc)}\n"
        f"{certificate.public_bytes(Encoding.PEM).decode()}"
    )


def _move_spool(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    import os

    from edge_agent.moving.commands import export_spool, import_spool
    from shared.clock import SystemClock

    os.umask(0o077)
    act = {"export": export_spool, "import": import_spool}[arguments.action]
    for line in act(folder, arguments.folder.absolute(), SystemClock()):
        sys.stdout.write(f"{line}\n")


def _rescue_spool(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    import os

    from edge_agent.config import AgentFolder
    from edge_agent.moving.commands import rescue_spool
    from shared.clock import SystemClock

    os.umask(0o077)
    for line in rescue_spool(folder, AgentFolder(arguments.old.absolute()), SystemClock()):
        sys.stdout.write(f"{line}\n")


def _folder(arguments: argparse.Namespace) -> "AgentFolder":
    from edge_agent.config import AgentFolder

    return AgentFolder(arguments.data.absolute())


def _read_code(file: Path) -> str:
    from shared.errors import Malformed

    try:
        return file.read_text()
    except OSError as exc:
        raise Malformed(f"code file {file}", f"it cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Malformed(f"code file {file}", "it is no text") from exc


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("expected a port from 0 to 65535")
    return port


def _ae_title(text: str) -> str:
    if not (1 <= len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text and text.strip()):
        raise argparse.ArgumentTypeError("expected 1 to 16 ASCII characters without backslash")
    return text


if __name__ == "__main__":
    sys.exit(main())
