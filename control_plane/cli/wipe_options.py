"""The commands that are about wiping drives: `wipe`."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.certificate import Facts
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Override, Reason

Commands = argparse._SubParsersAction
Person = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Later = Callable[[str, str], Callable[[argparse.Namespace], int]]


def add_wipes(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    """Add them. `person` gives a command a credential; `later` has a command imported when it is the one asked for."""
    wipe = commands.add_parser("wipe", help="order the certified wipe of a drive, approve it, see what became of it")
    actions = wipe.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_order(actions, person, later)
    _add_looking(actions, person, later)
    _add_deciding(actions, person, later)
    _add_carrying(actions, person, later)
    _add_certificates(actions, person, later)
    _add_holds(actions, person, later)


def _add_order(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    order = person(actions.add_parser("order", help="ask for the wipe of one drive; others approve it (audited)"))
    order.add_argument("host", metavar="HOST", help="its id, or what people call it")
    for name, told in (
        ("serial", "the drive's serial number, as `leadglass-wipe drives` on the host prints it"),
        ("model", "its model, from there too"),
    ):
        order.add_argument(f"--{name}", required=True, metavar="TEXT", help=told)
    order.add_argument("--wwn", default="", metavar="TEXT", help="its World Wide Name, where it has one")
    order.add_argument("--size-bytes", type=int, required=True, metavar="N", help="its size, from there too")
    order.add_argument("--reason", choices=[one.value for one in Reason], required=True)
    order.add_argument("--text", required=True, help="why; it is kept sealed in the audit log, with your name")
    order.add_argument("--technician", required=True, metavar="NAME", help="who will wipe it")
    order.add_argument("--least", choices=[one.value for one in LeastClass], help="class to reach [as policy has it]")
    order.add_argument("--read-back", choices=[one.value for one in ReadBack], help="[as policy has it]")
    order.add_argument(
        "--technique", action="append", default=[], choices=[one.value for one in Technique], metavar="NAME",
        help="by preference, repeatable [those that reach the class]",
    )  # fmt: skip
    order.add_argument("--sequence", choices=[one.value for one in Sequence], default=Sequence.RANDOM.value)
    order.add_argument(
        "--pass", dest="passes", action="append", default=[], metavar="BYTE",
        help="of a custom sequence: random, or two hex digits; repeatable",
    )  # fmt: skip
    order.add_argument(
        "--override", action="append", default=[], choices=[one.value for one in Override],
        help="what may be lost with two people's word",
    )  # fmt: skip
    order.add_argument("--hours", type=int, metavar="N", help="how long the ticket holds [as long as policy allows]")
    order.set_defaults(run=later("wipes", "order"))


def _add_looking(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    listing = person(actions.add_parser("list", help="every order and how far it has come; 1 if any is in doubt"))
    listing.add_argument("--host", metavar="HOST", help="that host's alone: its id, or what people call it")
    listing.set_defaults(run=later("wipes", "show_all"))
    show = _order(person(actions.add_parser("show", help="one order, who signed it, and what its host told")))
    show.set_defaults(run=later("wipes", "show"))


def _add_deciding(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    approve = _order(person(actions.add_parser("approve", help="sign the ticket, here, with your key (audited)")))
    approve.add_argument("--yes", action="store_true", help="sign it: this is the drive and the way")
    approve.add_argument(
        "--digest", metavar="HEX", help="only if this is still the ticket that you read; without --yes it is told"
    )
    approve.set_defaults(run=later("wipes", "approve"))
    approve.add_argument(
        "--beside", default="", metavar="REASON",
        help="why, although another order for this drive is under way; it is kept sealed in the audit log",
    )  # fmt: skip
    for do, told in (
        ("refuse", "refuse an order that another person asked for (audited)"),
        ("cancel", "take an order back that its host has not begun (audited)"),
    ):
        closing = _order(person(actions.add_parser(do, help=told)))
        closing.add_argument("--reason", required=True, help="why; it is kept sealed in the audit log, with your name")
        closing.set_defaults(run=later("wipes", "close"), do=do)
    destroyed = _order(person(actions.add_parser("destroyed", help="keep that the drive was destroyed (audited)")))
    destroyed.add_argument("--witness", required=True, metavar="NAME", help="who saw it, besides you")
    destroyed.add_argument("--means", required=True, metavar="TEXT", help="by which machine and how fine")
    destroyed.add_argument(
        "--photograph", type=Path, action="append", default=[], metavar="FILE", help="its SHA-256 is kept; repeatable"
    )
    destroyed.set_defaults(run=later("wipes", "destroyed"))


def _add_carrying(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    ticket = _order(person(actions.add_parser("ticket", help="the approved ticket, for a host without a network")))
    how = ticket.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=Path, metavar="FILE", help="file to make; never overwritten")
    how.add_argument("--qr", action="store_true", help="as QR codes in this terminal, and their text")
    ticket.set_defaults(run=later("wipes", "ticket"))
    bring = person(actions.add_parser("import", help="bring a report that `leadglass-wipe` wrote (audited)"))
    bring.add_argument(
        "file", type=Path, metavar="FILE", help="TICKET.report; or a ticket whose order a restore has lost"
    )
    bring.set_defaults(run=later("wipes", "bring"))


def _add_certificates(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    certify = _order(person(actions.add_parser("certify", help="certify a wipe whose evidence holds (audited)")))
    for one in fields(Facts):
        certify.add_argument(
            f"--{one.name.replace('_', '-')}", default="", metavar="TEXT", help="stated on the certificate"
        )
    certify.add_argument("--out", type=Path, required=True, metavar="DIR", help="where both files go")
    certify.set_defaults(run=later("wipe_certificates", "certify"))
    given = _order(person(actions.add_parser("certificate", help="its certificate again, as file and as PDF")))
    where = given.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="where both files go")
    where.add_argument("--qr", action="store_true", help="the file as QR codes in this terminal, and their text")
    given.set_defaults(run=later("wipe_certificates", "certificate"))


def _add_holds(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    holds = person(actions.add_parser("holds", help="hosts that are held for an incident"))
    holds.set_defaults(run=later("wipes", "holds"))
    for do, told in (
        ("hold", "have no drive of a host be wiped while an incident is looked into (audited)"),
        ("lift", "let its drives be wiped again; takes two persons (audited)"),
    ):
        deciding = person(actions.add_parser(do, help=told))
        deciding.add_argument("host", metavar="HOST", help="its id, or what people call it")
        deciding.add_argument("--reason", required=True, help="why; it is kept sealed in the audit log, with your name")
        deciding.set_defaults(run=later("wipes", do))


def _order(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("order", metavar="ORDER", help="as `wipe list` prints it")
    return parser
