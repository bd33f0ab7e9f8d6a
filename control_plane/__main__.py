"""`leadglass-server`: the control plane and what people do with it. The only place that knows exit codes."""

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from control_plane import VERSION
from control_plane.cli.people_options import add_people
from control_plane.cli.ring_options import add_ring_options
from control_plane.cli.wipe_options import add_wipes
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.policy.layer import PART_PATTERN

OK, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3
_EPILOG = """\
First time: `leadglass-server init`, then `run`, then `keys drill` with two of the recovery shares.

exit codes: 0 done, 1 refused, not authentic or not proved, 2 usage or bad input, 3 something it needs does not answer
"""
_AGAIN = """\
What is sent again goes behind whatever waits for the route, and ahead of every image that arrives later: take a long
time in pieces. Only what the control plane itself delivered on this route is sent. What a host sent (`via: host`) is
not: `open` it and send it by hand. The vault has all of it.
"""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOMEM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused or not authentic, 2 bad input, 3 no answer."""
    options = command_line().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        # Written out here and not at exit, where a reader who has gone could not be dealt with.
        sys.stdout.flush()
        return code
    except Malformed as exc:
        return _say(str(exc), USAGE)
    except (Refused, IntegrityFailure) as exc:
        return _say(str(exc), REFUSED)
    except Unavailable as exc:
        return _say(str(exc), UNAVAILABLE)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; nothing more can be written there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNAVAILABLE
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename is not None else ""
        return _say(f"{where}{exc.strerror or exc}", UNAVAILABLE if exc.errno in _NO_ROOM else USAGE)
    except KeyboardInterrupt:
        return _say("stopped", REFUSED)
    except Exception:
        logging.getLogger(__name__).exception("command failed")
        return _say("this command failed in a way it should not have; its log has the details", UNAVAILABLE)


def _say(message: str, code: int) -> int:
    print(f"leadglass-server: {message}", file=sys.stderr)
    return code


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leadglass-server",
        description="The Leadglass control plane: identity, policy, keys, vault and audit log.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_running(commands)
    _add_people(commands)
    _add_codes(commands)
    _add_hosts(commands)
    _add_requests(commands)
    _add_policy(commands)
    add_people(commands, _person, _later)
    _add_audit(commands)
    _add_log(commands)
    _add_coverage(commands)
    _add_routes(commands)
    _add_moving(commands)
    _add_commanding(commands)
    add_wipes(commands, _person, _later)
    _add_keys(commands)
    _add_authority(commands)
    _add_backups(commands)
    return parser


Commands = argparse._SubParsersAction


def _add_running(commands: "Commands[argparse.ArgumentParser]") -> None:
    init = commands.add_parser("init", help="make a new control plane in an empty folder")
    _data(init)
    _made_once(init, required=True)
    _json(init)
    init.set_defaults(run=_later("running", "init"))

    run = commands.add_parser("run", help="run the control plane until it is told to stop (first start included)")
    _data(run)
    _made_once(run, required=False)
    for name, port, what in (
        ("host-port", 8442, "door of enrolled hosts (mutual TLS)"),
        ("enrol-port", 8441, "enrolment door"),
        ("people-port", 8440, "people's door (loopback)"),
        ("mqtt-port", 8883, "broker"),
    ):
        run.add_argument(f"--{name}", type=_port, default=port, metavar="PORT", help=f"{what}; 0 picks one [{port}]")
    broker = run.add_mutually_exclusive_group()
    broker.add_argument("--no-broker", action="store_true", help="do without Mosquitto; hosts pull policy over HTTPS")
    broker.add_argument("--broker", metavar="URL", help="a broker that others run, mqtts://HOST:PORT, and no Mosquitto")
    run.add_argument(
        "--broker-ca", type=Path, metavar="FILE", help="who certified that broker, PEM [our own authority did]"
    )
    run.add_argument(
        "--time-authority", metavar="URL", help="RFC 3161 time authority whose timestamps signed PDFs get [none]"
    )
    run.add_argument(
        "--witnesses", type=Path, metavar="FILE", help="who is asked to witness our log, and whose logs we witness"
    )
    run.add_argument("--ready-file", type=Path, metavar="FILE", help="write addresses and sign-in link here when ready")
    run.set_defaults(run=_later("running", "run"))


def _add_people(commands: "Commands[argparse.ArgumentParser]") -> None:
    status = _person(commands.add_parser("status", help="hosts, policy, objects, recovery, and what is not proved"))
    status.set_defaults(run=_later("people", "status"))

    devices = _person(
        commands.add_parser("devices", help="what is plugged into each host, and what the guard did; 1 if unproved")
    )
    devices.add_argument("host", nargs="?", metavar="HOST", help="that one alone: its id, or what people call it")
    devices.set_defaults(run=_later("devices", "show"))

    signing_in = _person(
        commands.add_parser("sign-in", help="make a one-time link to the status page, for your browser")
    )
    signing_in.set_defaults(run=_later("people", "sign_in"))

    find = _person(commands.add_parser("find", help="look images up through the blind index (audited)"))
    wanted = find.add_mutually_exclusive_group()
    wanted.add_argument("--patient-id", metavar="ID", help="patient number, exactly as the image carries it")
    wanted.add_argument("--study", metavar="UID", help="Study Instance UID")
    wanted.add_argument("--sop-instance", metavar="UID", help="SOP Instance UID")
    wanted.add_argument("--conflicts", action="store_true", help="several data sets under one UID, not settled yet")
    find.set_defaults(run=_later("people", "find"))

    opening = _person(commands.add_parser("open", help="open one image, verified as a whole before it is released"))
    opening.add_argument("object", help="object id, as `find` prints it")
    opening.add_argument("--reason", required=True, help="why; it stands in the audit log with your name")
    opening.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; never overwritten")
    opening.add_argument("--bare", action="store_true", help="the encoded dataset alone, no preamble and group 0002")
    opening.set_defaults(run=_later("people", "open_image"))

    settle = _person(commands.add_parser("settle", help="close a conflict of data sets that you looked into (audited)"))
    settle.add_argument("object", help="an object of it, as `find --conflicts` prints it")
    settle.add_argument("--reason", required=True, help="what you found; sealed into the audit log with your name")
    settle.set_defaults(run=_later("people", "settle"))

    losses = commands.add_parser("losses", help="images that the vault lost, and those that do not come again")
    of_losses = losses.add_subparsers(title="actions", required=True, metavar="ACTION")
    lost = _person(of_losses.add_parser("list", help="what is lost, and what of it is settled"))
    lost.set_defaults(run=_later("losses", "show"))
    final = _person(of_losses.add_parser("settle", help="state that a lost image does not come again (audited)"))
    final.add_argument("object", help="object id, as `losses list` prints it")
    final.add_argument("--why", required=True, help="it is kept sealed in the audit log, with your name")
    final.set_defaults(run=_later("losses", "settle"))

    custody = _person(commands.add_parser("custody", help="write what proves an image elsewhere (audited)"))
    custody.add_argument("object", help="object id, as `find` prints it")
    custody.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; never overwritten")
    custody.set_defaults(run=_later("people", "custody"))


def _add_codes(commands: "Commands[argparse.ArgumentParser]") -> None:
    code = commands.add_parser("code", help="issue one-time enrolment codes, look at them, cancel them")
    # Not required here: the actions bring their own.
    _credential(code, required=False)
    _json(code)
    code.add_argument("--asset", help="the asset number, or what else people call the host, such as 'CT 2, room 1.14'")
    code.add_argument("--list", type=Path, metavar="FILE.csv", help="asset, site, type: a code for each line, or none")
    code.add_argument("--valid-s", type=int, default=86_400, metavar="SECONDS", help="how long it may be used [1 day]")
    code.add_argument("--site", metavar="NAME", help="the host is at this site and has the policy layer site-NAME too")
    code.add_argument("--type", metavar="NAME", help="its type of modality: it has the policy layer modality-NAME too")
    code.add_argument("--qr", action="store_true", help="as QR code in this terminal too")
    code.add_argument("--sheet", type=Path, metavar="FILE.svg", help="as QR codes to print; never overwritten")
    code.set_defaults(run=_later("codes", "issue"))
    actions = code.add_subparsers(title="actions", metavar="ACTION")
    listing = _person(actions.add_parser("list", help="codes without their secrets, and what became of each"))
    listing.set_defaults(run=_later("codes", "show"))
    cancel = _person(actions.add_parser("cancel", help="have a code open nothing any more (audited)"))
    cancel.add_argument("code_id", metavar="CODE", help="as `code list` names it")
    cancel.set_defaults(run=_later("codes", "cancel"))
    settle = _person(actions.add_parser("settle", help="close the doubt about a code that was tried twice (audited)"))
    settle.add_argument("code_id", metavar="CODE", help="as `status` names it")
    _reason(settle, "what you found")
    settle.set_defaults(run=_later("codes", "settle"))


def _add_hosts(commands: "Commands[argparse.ArgumentParser]") -> None:
    hosts = commands.add_parser("hosts", aliases=["host"], help="list hosts, and decide what becomes of one")
    actions = hosts.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = _person(actions.add_parser("list", help="the ids of hosts whose identity was not ended, one a line"))
    listing.set_defaults(run=_later("hosts", "show"))
    revoke = _host(actions, "revoke", "refuse a host from now on, for good; its asset enrols no other (audited)")
    _reason(revoke, "why")
    revoke.set_defaults(run=_later("hosts", "revoke"))
    lift = _host(actions, "lift", "let a revoked host's asset and machine enrol again; takes two persons (audited)")
    _reason(lift, "why")
    lift.set_defaults(run=_later("hosts", "lift"))
    asks = _person(actions.add_parser("asks", help="machines that ask to go on as hosts that have no certificate left"))
    asks.set_defaults(run=_later("hosts", "asks"))
    approve = _host(actions, "approve", "let the machine with this fresh key go on as the host (audited)")
    approve.add_argument("--fingerprint", required=True, metavar="SHORT", help="as the machine shows it")
    approve.set_defaults(run=_later("hosts", "approve"))
    rename = _host(actions, "rename", "give a host another asset; it learns that when it renews (audited)")
    rename.add_argument("--asset", required=True, metavar="NEW", help="what people call it from now on")
    rename.set_defaults(run=_later("hosts", "rename"))
    move = _host(actions, "move", "to another site or type of modality: a command to it, signed here (audited)")
    move.add_argument("--site", metavar="NAME", help="its site, such as north; without it, none")
    move.add_argument("--type", metavar="NAME", help="its type of modality, such as ct; without it, none")
    move.add_argument("--lasts", default="1h", metavar="TIME", help="when it is too late, such as 30m [%(default)s]")
    move.add_argument("--out", type=Path, metavar="FILE", help="write it there for the next signer; send nothing")
    move.set_defaults(run=_later("placing", "move"))
    replace = _host(actions, "replace", "a code for other hardware in its place, which ends this identity (audited)")
    replace.add_argument(
        "--valid-s", type=int, default=86_400, metavar="SECONDS", help="how long it may be used [1 day]"
    )
    replace.set_defaults(run=_later("hosts", "replace"))
    back = _person(actions.add_parser("take-back", help="a host that the log lost, by its claim; takes two (audited)"))
    back.add_argument(
        "host", metavar="HOST|FILE", help="a host that `host asks` lists, or what `leadglass-agent claim` wrote"
    )
    back.add_argument("--reason", required=True, metavar="TEXT", help="told to whoever approves it")
    back.set_defaults(run=_later("hosts", "take_back"))
    end = _host(actions, "decommission", "take a host out of service for good (audited)")
    how = end.add_mutually_exclusive_group(required=True)
    how.add_argument("--certificate", type=Path, metavar="FILE", help="the certificate of its drive's wipe")
    how.add_argument("--exception", action="store_true", help="without one: takes two persons, and --reason")
    end.add_argument("--reason", help="why; it is kept sealed in the audit log, with your name")
    end.set_defaults(run=_later("hosts", "decommission"))

    doubted = commands.add_parser("settle-host", help="close the doubt about a host that you looked into (audited)")
    _person(doubted).add_argument("host", help="its host id, as `status` prints it")
    doubted.add_argument("--rekey", action="store_true", help="two machines go on: bar both, then approve one")
    _reason(doubted, "what you found")
    doubted.set_defaults(run=_later("hosts", "settle"))


def _add_requests(commands: "Commands[argparse.ArgumentParser]") -> None:
    requests = commands.add_parser("requests", help="what waits for a second person")
    actions = requests.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = _person(actions.add_parser("list", help="every request that is open"))
    listing.set_defaults(run=_later("requests", "show"))
    for do, told in (
        ("approve", "do what another person asked for (audited)"),
        ("refuse", "close it undone (audited)"),
    ):
        deciding = _person(actions.add_parser(do, help=f"{told} (audited)"))
        deciding.add_argument("request", metavar="REQUEST", help="as `requests list` names it")
        deciding.set_defaults(run=_later("requests", "decide"), do=do)


def _add_policy(commands: "Commands[argparse.ArgumentParser]") -> None:
    policy = commands.add_parser("policy", help="check, compare, try, publish or take back a policy")
    actions = policy.add_subparsers(title="actions", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say what is wrong with a policy file; touches nothing")
    check.add_argument("file", type=Path)
    _json(check)
    check.set_defaults(run=_later("policies", "check"))
    schema = actions.add_parser("schema", help="print the JSON Schema of a policy file, for an editor")
    schema.add_argument("--part", action="store_true", help="of the file of a site or a type of modality")
    schema.set_defaults(run=_later("policies", "schema"))
    diff = _person(actions.add_parser("diff", help="what a file would change, and what of it is dangerous; 1 if any"))
    diff.add_argument("file", type=Path)
    diff.add_argument("--against", type=_version, metavar="VERSION", help="that version [the newest]")
    diff.set_defaults(run=_later("policy_past", "diff"))
    simulate = _person(actions.add_parser("simulate", help="which devices and captures a file would treat otherwise"))
    simulate.add_argument("file", type=Path)
    simulate.add_argument("--days", type=int, default=30, metavar="N", help="captures of the last N days [%(default)s]")
    simulate.set_defaults(run=_later("policy_simulate", "simulate"))
    publish = _person(actions.add_parser("publish", help="sign a policy file with your key and push it to every host"))
    publish.add_argument("file", type=Path, help="a policy, or a draft that enough people have signed")
    add_ring_options(publish)
    publish.set_defaults(run=_later("policies", "publish"))
    _add_rollouts(actions)
    _add_past_policy(actions)
    _add_signing(actions)


def _add_rollouts(actions: "Commands[argparse.ArgumentParser]") -> None:
    rings = _person(
        actions.add_parser("rings", help="how far each roll-out is, and what it waits for; 1 if any failed")
    )
    rings.add_argument("--layer", metavar="LAYER", help="that layer [all of them]")
    rings.set_defaults(run=_later("rollouts", "rings"))
    rollout = actions.add_parser("rollout", help="stop a roll-out, have it go on, or take it back")
    steps = rollout.add_subparsers(title="steps", required=True, metavar="STEP")
    for do, told in (
        ("pause", "open no further ring"),
        ("resume", "go on after a pause"),
        ("widen", "open the next ring now; refused where a host failed"),
        ("revert", "take every host back to what it had before"),
    ):
        step = _person(steps.add_parser(do, help=told))
        step.add_argument("--layer", default="organisation", metavar="LAYER", help="[%(default)s]")
        step.add_argument("--because", default="", metavar="TEXT", help="why; stands in the audit log with your name")
        step.set_defaults(run=_later("rollouts", "steer"), do=do)


def _add_signing(actions: "Commands[argparse.ArgumentParser]") -> None:
    signers = _person(actions.add_parser("signers", help="who may sign what, how many have to, until when"))
    signers.set_defaults(run=_later("signing", "signers"))

    propose = _person(actions.add_parser("propose", help="write a draft of a policy, for several people to sign"))
    propose.add_argument("file", type=Path)
    propose.add_argument("--rings", action="store_true", help="to be published in rings, and taken back if need be")
    _draft_out(propose, required=True)
    propose.set_defaults(run=_later("policies", "propose"))

    review = actions.add_parser("review", help="say what a draft would change and who has still to sign; signs nothing")
    review.add_argument("draft", type=Path)
    _json(review)
    review.set_defaults(run=_later("signing", "review"))

    sign = actions.add_parser("sign", help="add your signature to a draft; needs no network")
    sign.add_argument("draft", type=Path)
    mine = sign.add_mutually_exclusive_group(required=True)
    mine.add_argument("--as", dest="credential", type=Path, metavar="FILE", help="your credential")
    mine.add_argument("--key", type=Path, metavar="FILE.pub", help="a key alone, such as one for recovery")
    sign.add_argument("--root", metavar="SHA256", help="newest policy root, as a signer read it to you who becomes one")
    _json(sign)
    sign.set_defaults(run=_later("signing", "sign"))

    _add_layers(actions)
    _add_root(actions)
    _add_key(actions)


def _add_layers(actions: "Commands[argparse.ArgumentParser]") -> None:
    layer = actions.add_parser("layer", help="the policy layers of sites and types of modality")
    what = layer.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = _person(what.add_parser("add", help="let sites and types of modality have policies of their own"))
    add.add_argument("names", nargs="+", metavar="NAME", help="site-NAME or modality-NAME, such as modality-ct")
    _draft_out(add, required=False)
    add.set_defaults(run=_later("layers", "add"))
    listing = _person(what.add_parser("list", help="every layer, and which version of it is published"))
    listing.set_defaults(run=_later("layers", "show"))


def _add_root(actions: "Commands[argparse.ArgumentParser]") -> None:
    root = actions.add_parser("root", help="fingerprints of the policy roots, which a host's guard pins; or a new root")
    _credential(root, required=False)
    _json(root)
    root.set_defaults(run=_later("policies", "root"))
    changes = root.add_subparsers(title="changes", metavar="CHANGE")
    propose = _person(changes.add_parser("propose", help="change who signs, how many have to, or the online key"))
    propose.add_argument("--add", type=Path, action="append", default=[], metavar="FILE.pub", help="a new signer's key")
    propose.add_argument(
        "--remove", action="append", default=[], metavar="SIGNER", help="a name, or how a key id begins"
    )
    propose.add_argument("--threshold", type=int, metavar="N", help="how many signatures it takes [as many as now]")
    propose.add_argument("--only", choices=("root", "policies"), help="leave those who sign the other as they are")
    propose.add_argument("--new-online-key", action="store_true", help="replace the centre's own key, after misuse")
    _draft_out(propose, required=False)
    propose.set_defaults(run=_later("signing", "propose_root"))
    renew = _person(changes.add_parser("renew", help="begin a new year for root, targets and layers as they are"))
    _draft_out(renew, required=False)
    renew.set_defaults(run=_later("signing", "renew_root"))


def _add_key(actions: "Commands[argparse.ArgumentParser]") -> None:
    key = actions.add_parser("key", help="make a key to sign with, or write one down that lies on a token")
    kinds = key.add_subparsers(title="kinds", required=True, metavar="KIND")
    new = kinds.add_parser("new", help="FILE for you alone, and FILE.pub for whoever makes you a signer")
    new.add_argument("file", type=Path)
    token = kinds.add_parser("on-token", help="FILE.pub alone, of a key on a PKCS#11 token; asks for the PIN")
    token.add_argument("file", type=Path)
    token.add_argument("--token", required=True, metavar="LABEL", help="label of the token")
    token.add_argument("--id", type=int, default=2, metavar="N", help="CKA_ID of the key on it [%(default)s]")
    for kind, run in ((new, "new_key"), (token, "key_on_token")):
        kind.add_argument("--name", required=True, help="whose key it is, or what for; people sign it with the key")
        _json(kind)
        kind.set_defaults(run=_later("signing", run))


def _draft_out(parser: argparse.ArgumentParser, *, required: bool) -> None:
    also = "" if required else "; not needed where your signature is enough"
    parser.add_argument(
        "--out", type=Path, required=required, metavar="DRAFT", help=f"file to make, for others to sign{also}"
    )


def _layer(parser: argparse.ArgumentParser) -> None:
    what = "that of a site or a type of modality, such as site-north [the organisation's]"
    parser.add_argument("--layer", type=_part, metavar="NAME", help=what)


def _add_past_policy(actions: "Commands[argparse.ArgumentParser]") -> None:
    history = _person(actions.add_parser("history", help="who published which version when, and what it changed"))
    history.add_argument("--most", type=int, default=20, metavar="N", help="the newest N [%(default)s]")
    _layer(history)
    history.set_defaults(run=_later("policy_past", "history"))
    show = _person(actions.add_parser("show", help="print a version as a policy file; --json: as it was signed"))
    show.add_argument("version", type=_version, metavar="VERSION")
    _layer(show)
    show.set_defaults(run=_later("policy_past", "show"))
    effective = _person(actions.add_parser("effective", help="what one host acts by, and which layer says each line"))
    effective.add_argument("host", metavar="HOST", help="its id, or what people call it")
    effective.set_defaults(run=_later("policy_effective", "show"))
    revert = _person(actions.add_parser("revert", help="publish what an older version said, as a new version"))
    revert.add_argument("version", type=_version, metavar="VERSION")
    _layer(revert)
    revert.add_argument("--yes", action="store_true", help="do not ask")
    add_ring_options(revert)
    revert.set_defaults(run=_later("policy_past", "revert"))


def _add_audit(commands: "Commands[argparse.ArgumentParser]") -> None:
    audit = commands.add_parser("audit", help="read, prove or export the audit log")
    actions = audit.add_subparsers(title="actions", required=True, metavar="ACTION")
    tail = _person(actions.add_parser("tail", help="the newest records, or each one that comes"))
    tail.add_argument("--follow", action="store_true", help="print each record once it is in the log, up to an hour")
    tail.set_defaults(run=_tail)
    find = _person(actions.add_parser("find", help="records by what they say and whom they are about (audited)"))
    _question(find)
    find.set_defaults(run=_later("audit", "find"))
    touched = _person(actions.add_parser("who-touched", help="who touched a patient's images, and when (audited)"))
    touched.add_argument("--patient", required=True, metavar="ID", help="patient number")
    touched.set_defaults(run=_later("audit", "who_touched"))
    archive = _person(actions.add_parser("archive", help="one file of records with all that proves them (audited)"))
    _question(archive)
    archive.add_argument("--open", action="store_true", help="with what is sealed, opened; administrators may")
    archive.add_argument("--kept", type=Path, metavar="FILE", help="a checkpoint that you kept: prove what came since")
    archive.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; never overwritten")
    archive.set_defaults(run=_later("audit", "archive"))
    verify = _person(actions.add_parser("verify", help="prove every stored record again; names the first that fails"))
    verify.add_argument(
        "--kept", type=Path, action="append", default=[], metavar="FILE", help="a checkpoint that you kept; repeatable"
    )
    verify.set_defaults(run=_later("people", "audit_verify"))
    checkpoint = _person(actions.add_parser("checkpoint", help="what the log is now, signed: keep it elsewhere"))
    checkpoint.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; never overwritten")
    checkpoint.set_defaults(run=_later("merkle", "checkpoint"))
    witnesses = _person(actions.add_parser("witnesses", help="who saw what of the log, and whether it still has it"))
    witnesses.add_argument(
        "--out", type=Path, metavar="FILE", help="also write the newest cosigned checkpoint; never overwritten"
    )
    witnesses.set_defaults(run=_later("merkle", "witnesses"))
    proof = _person(actions.add_parser("proof", help="prove one record to whoever trusts the authority alone"))
    proof.add_argument(
        "--record", nargs=2, required=True, metavar=("SOURCE", "NUMBER"), help="as `audit tail` names it"
    )
    proof.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.tlog-proof and FILE.json are made")
    proof.set_defaults(run=_later("merkle", "proof"))
    tiles = _person(actions.add_parser("tiles", help="write the whole Merkle log as C2SP tlog-tiles has it"))
    tiles.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    tiles.set_defaults(run=_later("merkle", "tiles"))
    export = _person(actions.add_parser("export", help="write the log for `leadglass-verify audit`"))
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; never overwritten")
    export.set_defaults(run=_later("people", "audit_export"))


def _question(parser: argparse.ArgumentParser) -> None:
    for name, metavar, told in (
        ("patient", "ID", "patient number, by blind index"),
        ("study", "UID", "Study Instance UID, by blind index"),
        ("person", "NAME", "who did it, or whom it was done to"),
        ("host", "HOST", "its id: host-..."),
        ("device", "TEXT", "port, sysfs name or serial number"),
        ("event", "NAME", "such as vault.object-opened"),
    ):
        parser.add_argument(f"--{name}", metavar=metavar, help=told)
    parser.add_argument("--action", choices=["C", "R", "U", "D", "E"], help="create, read, update, delete, execute")
    parser.add_argument("--outcome", type=int, choices=[0, 4, 8, 12], help="0 is success, 4 to 12 ever graver failures")
    parser.add_argument("--from", dest="since", metavar="TIME", help="a day, or as 2026-03-01T08:00:00Z")
    parser.add_argument("--to", dest="until", metavar="TIME", help="up to that day's end, or before that time")


def _tail(options: argparse.Namespace) -> int:
    command = ("audit", "follow") if options.follow else ("people", "audit_tail")
    return _later(*command)(options)


def _add_log(commands: "Commands[argparse.ArgumentParser]") -> None:
    log = commands.add_parser("log", help="go on after records of the centre's own log were lost")
    actions = log.add_subparsers(title="actions", required=True, metavar="ACTION")
    accept = _person(
        actions.add_parser("accept-loss", help="give lost records up; certificates are issued again (audited)")
    )
    accept.add_argument("--reason", required=True, help="why; it is kept sealed in the audit log, with your name")
    accept.add_argument("--yes", action="store_true", help="every host was looked at: whoever was revoked is again")
    accept.set_defaults(run=_later("log", "accept_loss"))


def _add_coverage(commands: "Commands[argparse.ArgumentParser]") -> None:
    coverage = commands.add_parser("coverage", help="hold what the archive knows against what was captured")
    actions = coverage.add_subparsers(title="actions", required=True, metavar="ACTION")
    run = _person(actions.add_parser("run", help="compare a day now; 1 where anything is unprotected or not known"))
    run.add_argument("--day", required=True, metavar="YYYY-MM-DD", help="study date in the archive")
    run.set_defaults(run=_later("coverage", "run"))
    show = _person(actions.add_parser("show", help="the newest comparisons; with --reason, which images a gap is of"))
    show.add_argument("--day", metavar="YYYY-MM-DD", help="that day alone [the last 7]")
    show.add_argument("--modality", metavar="AE", help="with --day and --reason: whose gap to look at")
    show.add_argument("--reason", help="why; it stands in the audit log with your name")
    show.set_defaults(run=_later("coverage", "show"))


def _add_routes(commands: "Commands[argparse.ArgumentParser]") -> None:
    routes = commands.add_parser("routes", help="how images reach archives, and what keeps them")
    actions = routes.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = _person(actions.add_parser("show", help="each route; 1 where anything was refused or fails"))
    show.set_defaults(run=_later("routes", "show"))
    retry = _person(actions.add_parser("retry", help="try again now what was refused on a route (audited)"))
    retry.add_argument("route", help="the route's name in the policy")
    retry.set_defaults(run=_later("routes", "retry"))
    again = _person(
        actions.add_parser(
            "again",
            help="send again what an archive was given and has lost (audited)",
            description=_AGAIN,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    again.add_argument("route", help="the route's name in the policy")
    which = again.add_mutually_exclusive_group(required=True)
    which.add_argument("--object", action="append", metavar="ID", help="an image, as `find` prints it (repeatable)")
    which.add_argument("--since", metavar="TIME", help="all it was given since: a day, or as 2026-03-01T08:00:00Z")
    again.add_argument("--until", metavar="TIME", help="with --since: and before that day or time")
    again.add_argument("--reason", required=True, help="why; it is kept sealed in the audit log, with your name")
    again.set_defaults(run=_later("routes", "again"))
    certificate = _person(actions.add_parser("certificate", help="print what an archive has to trust to let us in"))
    certificate.set_defaults(run=_later("routes", "certificate"))


def _add_moving(commands: "Commands[argparse.ArgumentParser]") -> None:
    spool = commands.add_parser("spool", help="let a host deliver what a dead one left behind")
    actions = spool.add_subparsers(title="actions", required=True, metavar="ACTION")
    allow = _person(actions.add_parser("allow", help="one host may deliver for another, for some days (audited)"))
    allow.add_argument("--from", dest="source", required=True, metavar="HOST", help="whose spool it is: host-...")
    allow.add_argument("--to", dest="bearer", required=True, metavar="HOST", help="who may deliver it: host-...")
    allow.add_argument("--reason", required=True, help="why; it is kept sealed in the audit log, with your name")
    allow.add_argument("--days", type=int, default=14, metavar="N", help="for how long, at most 90 [%(default)s]")
    allow.set_defaults(run=_later("moving", "allow"))
    show = _person(actions.add_parser("list", help="every move that was allowed, and what came by it"))
    show.set_defaults(run=_later("moving", "show"))
    end = _person(actions.add_parser("end", help="take the word back now (audited); what came before it stays"))
    end.add_argument("move", help="the move, as `spool list` prints it")
    end.set_defaults(run=_later("moving", "end"))


def _add_commanding(commands: "Commands[argparse.ArgumentParser]") -> None:
    actions = ("diagnostics", "rotate-certificate", "rescan", "isolate", "rejoin")
    command = _person(commands.add_parser("command", help="have one host do something, once (signed here, audited)"))
    command.add_argument("host", help="its host id, as `status` prints it")
    command.add_argument("action", choices=actions, help="what to do")
    command.add_argument(
        "--argument", action="append", default=[], metavar="NAME=VALUE", help="such as events=50, ae_title=CT1"
    )
    command.add_argument("--lasts", default="1h", metavar="TIME", help="when it is too late, such as 30m [%(default)s]")
    command.set_defaults(run=_later("commands", "issue"))
    another = _person(
        commands.add_parser("command-sign", help="sign what another one drew up, where policy asks for two")
    )
    another.add_argument("file", type=Path, help="what `command --out` wrote")
    another.set_defaults(run=_later("commands", "sign"))
    for parser in (command, another):
        parser.add_argument("--out", type=Path, metavar="FILE", help="write it there for the next signer; send nothing")
        parser.add_argument("--yes", action="store_true", help="I know what this does")
    show = _person(commands.add_parser("commands", help="what hosts were told to do, and what became of it"))
    show.add_argument("--host", metavar="HOST", help="that host's alone: its host id")
    show.add_argument("--command", metavar="COMMAND", help="that one alone, with what it proved")
    show.set_defaults(run=_later("commands", "show"))


def _add_keys(commands: "Commands[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser("keys", help="prove that the recovery shares work; erase somebody from the log")
    actions = keys.add_subparsers(title="actions", required=True, metavar="ACTION")
    drill = _person(actions.add_parser("drill", help="open a test object from two shares and the database alone"))
    _data(drill)
    drill.add_argument("--share", type=Path, action="append", required=True, metavar="FILE", help="give it twice")
    drill.add_argument("--backup", type=Path, metavar="DIR", help="from the newest backup there, and not the database")
    drill.set_defaults(run=_later("running", "drill"))
    erase = _whose(actions.add_parser("erase", help="destroy the key of what the log keeps sealed about somebody"))
    _reason(erase, "why, without naming them")
    erase.set_defaults(run=_later("audit", "erase"))
    subject = _whose(actions.add_parser("subject", help="which key it is, and which backups hold it too (audited)"))
    subject.set_defaults(run=_later("audit", "subject"))


def _whose(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    whose = _person(parser).add_mutually_exclusive_group(required=True)
    whose.add_argument("--patient", metavar="ID", help="patient number")
    whose.add_argument("--person", metavar="NAME", help="somebody with an account")
    whose.add_argument("--object", metavar="OBJECT", help="an image of which nobody knows whose it is")
    return parser


def _add_authority(commands: "Commands[argparse.ArgumentParser]") -> None:
    authority = commands.add_parser("authority", help="the certificate authority: its root, and what issues here")
    actions = authority.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="roots and issuing certificates, until when, and for which names")
    show.add_argument("--pem", action="store_true", help="print the certificates, for whoever has to trust hosts")
    request = _acts(actions.add_parser("request", help="ask the root to certify a fresh issuing key (audited)"))
    request.add_argument("--host", action="append", default=[], metavar="NAME", help="a further name of this machine")
    request.add_argument("--out", type=Path, required=True, metavar="FILE", help="request to make")
    install = _acts(actions.add_parser("install", help="take in what the root signed (audited)"))
    install.add_argument("file", type=Path)
    for parser, run in ((show, "show"), (request, "request"), (install, "install")):
        _data(_json(parser))
        parser.set_defaults(run=_later("authority", run))
    _add_root_key(actions)


def _add_root_key(actions: "Commands[argparse.ArgumentParser]") -> None:
    sign = actions.add_parser("sign", help="certify an issuing key, where the root's key is; needs no network")
    sign.add_argument("file", type=Path, help="the request")
    rotate = actions.add_parser("rotate-root", help="make a new root that the old one vouches for; needs no network")
    rotate.add_argument("--root", type=Path, required=True, metavar="FILE", help="by `authority show --pem`")
    new = rotate.add_mutually_exclusive_group(required=True)
    new.add_argument("--new-key", type=Path, metavar="FILE", help="file to make for the new root's key")
    new.add_argument("--new-token", metavar="LABEL", help="PKCS#11 token that has the new root's key already")
    rotate.add_argument("--new-id", type=int, default=2, metavar="N", help="CKA_ID of the key on it [%(default)s]")
    for parser, run in ((sign, "sign"), (rotate, "rotate_root")):
        key = parser.add_mutually_exclusive_group(required=True)
        key.add_argument("--key", type=Path, metavar="FILE", help="the newest root's key")
        key.add_argument("--token", metavar="LABEL", help="PKCS#11 token that has it; asks for the PIN")
        parser.add_argument("--id", type=int, default=2, metavar="N", help="CKA_ID of the key on it [%(default)s]")
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.set_defaults(run=_later("authority", run))


def _acts(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--as", dest="credential", type=Path, required=True, metavar="FILE", help="your credential")
    return parser


def _add_backups(commands: "Commands[argparse.ArgumentParser]") -> None:
    backup = commands.add_parser("backup", help="copy the running control plane, without its root key")
    _data(_json(backup))
    who = backup.add_mutually_exclusive_group(required=True)
    who.add_argument("--as", dest="credential", type=Path, metavar="FILE", help="your credential")
    who.add_argument("--token-file", type=Path, metavar="FILE", help="a token whose scope is backup:make, for a timer")
    backup.add_argument("folder", type=Path, metavar="DIR", help="where backups lie; what is there is not copied again")
    backup.add_argument("--keep-days", type=int, metavar="N", help="how long you will keep it, for `backups list`")
    backup.set_defaults(run=_later("backups", "backup"))
    backups = commands.add_parser("backups", help="prove a copy, list copies, or say that one is gone")
    actions = backups.add_subparsers(title="actions", required=True, metavar="ACTION")
    verify = actions.add_parser(
        "verify", help="read every byte of a copy; with shares also who signed it; 1 if damaged"
    )
    _from_backup(_json(verify))
    verify.set_defaults(run=_later("backups", "verify"))
    listing = _on_this_machine(actions.add_parser("list", help="every copy; 1 if any holds what was destroyed here"))
    listing.set_defaults(run=_later("backups", "show"))
    forget = _on_this_machine(actions.add_parser("forget", help="say that a copy is gone (audited)"))
    forget.add_argument("label", help="as `backups list` prints it")
    forget.set_defaults(run=_later("backups", "forget"))
    restore = commands.add_parser("restore", help="make a lost control plane again from a backup and two shares")
    _data(_json(restore))
    _from_backup(restore)
    restore.add_argument("--without-damaged", action="store_true", help="restore what is whole, where not all of it is")
    restore.set_defaults(run=_later("backups", "restore"))
    settle = _on_this_machine(commands.add_parser("settle-restore", help="close what a restore left open (audited)"))
    settle.add_argument("--reason", required=True, help="what you found; sealed into the audit log with your name")
    settle.set_defaults(run=_later("backups", "settle_restore"))


def _from_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where backups lie, or one of them")
    parser.add_argument("--label", help="that one [the newest]")
    root = parser.add_mutually_exclusive_group()
    root.add_argument("--share", type=Path, action="append", metavar="FILE", help="a recovery share; give it twice")
    root.add_argument("--root-key", type=Path, metavar="FILE", help="the root key's file instead of two shares")


def _on_this_machine(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _data(parser)
    parser.add_argument("--as", dest="credential", type=Path, required=True, metavar="FILE", help="your credential")
    return _json(parser)


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the control plane's data folder")
    parser.add_argument(
        "--database", metavar="URL",
        help="its database, where that is not in the folder: postgresql+psycopg://USER@HOST/NAME?passfile=FILE",
    )  # fmt: skip


def _made_once(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--handover", type=Path, required=required, metavar="DIR",
        help="empty folder for credential, recovery shares and the root's key; take them off this machine",
    )  # fmt: skip
    parser.add_argument("--person", default="first-administrator", help="the first administrator's name")
    parser.add_argument("--host", help="name or address by which hosts reach this machine [127.0.0.1]")
    parser.add_argument(
        "--root-token", metavar="LABEL", help="PKCS#11 token that has the root's key [it is a file that is handed over]"
    )
    parser.add_argument("--root-key-id", type=int, default=2, metavar="N", help="CKA_ID of it [%(default)s]")


def _person(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    return _json(_credential(parser, required=True))


def _credential(parser: argparse.ArgumentParser, *, required: bool) -> argparse.ArgumentParser:
    parser.add_argument("--as", dest="credential", type=Path, required=required, metavar="FILE", help="your credential")
    parser.add_argument("--url", help="people's door, where it is not the one in the credential")
    parser.add_argument(
        "--signed-by", type=Path, metavar="FILE", help="your certificate, in the place of the credential's token"
    )
    return parser


def _host(actions: "Commands[argparse.ArgumentParser]", name: str, told: str) -> argparse.ArgumentParser:
    parser = _person(actions.add_parser(name, help=told))
    parser.add_argument("host", metavar="HOST", help="its id, as `status` prints it: host-...")
    return parser


def _reason(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--reason", required=True, help=f"{what}; it is kept sealed in the audit log, with your name")


def _json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or (port := int(text)) > 65_535:
        raise argparse.ArgumentTypeError("expected a port from 0 to 65535")
    return port


def _version(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < (version := int(text[:10])) < 1 << 31:
        raise argparse.ArgumentTypeError("expected a version, such as 3")
    return version


def _part(text: str) -> str:
    if not re.fullmatch(PART_PATTERN, text):
        raise argparse.ArgumentTypeError("expected a layer such as site-north or modality-ct")
    return text


def _later(module: str, command: str) -> Callable[[argparse.Namespace], int]:
    """Import a command only when it is the one asked for, so that --help is quick."""

    def run(options: argparse.Namespace) -> int:
        from importlib import import_module

        result: int = getattr(import_module(f"control_plane.cli.{module}"), command)(options)
        return result

    return run


if __name__ == "__main__":
    sys.exit(main())
