"""The commands that are about people: `person`, `token` and `session`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from control_plane.people.decide import ROLES

Commands = argparse._SubParsersAction
Person = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Later = Callable[[str, str], Callable[[argparse.Namespace], int]]


def add_people(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    """Add them. `person` gives a command a credential; `later` has a command imported when it is the one asked for."""
    _add_person(commands, person, later)
    _add_tokens(commands, person, later)
    _add_sessions(commands, person, later)
    _add_provider(commands, person, later)


def _add_person(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    parser = commands.add_parser("person", help="accounts of people, and what they sign in with")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = person(actions.add_parser("add", help="make a credential for a person, who has a key already (audited)"))
    add.add_argument("--key", type=Path, required=True, metavar="FILE.pub", help="theirs, by `policy key`")
    add.add_argument("--role", choices=ROLES, required=True)
    add.add_argument("--out", type=Path, required=True, metavar="FILE", help="credential to make; never overwritten")
    add.set_defaults(run=later("signing", "add_person"))
    remove = person(actions.add_parser("remove", help="end an account; what its token opened is closed (audited)"))
    remove.add_argument("name")
    remove.set_defaults(run=later("signing", "remove_person"))
    listing = person(actions.add_parser("list", help="everybody who has or had an account"))
    listing.set_defaults(run=later("accounts", "list_people"))
    show = person(actions.add_parser("show", help="one person, and what they prove themselves with"))
    show.add_argument("name", nargs="?", help="[yourself]")
    show.set_defaults(run=later("accounts", "show_person"))
    role = person(actions.add_parser("role", help="give somebody another role; ends what they get in by (audited)"))
    role.add_argument("name")
    role.add_argument("role", choices=ROLES)
    role.set_defaults(run=later("accounts", "change_role"))
    reset = person(actions.add_parser("reset", help="take a lost password and second factors from somebody (audited)"))
    reset.add_argument("name")
    reset.set_defaults(run=later("accounts", "reset_person"))
    for handed_over in (role, reset):
        handed_over.add_argument(
            "--token-out", type=Path, required=True, metavar="FILE", help="their new token, to make"
        )
    propose = person(actions.add_parser("propose", help="ask that somebody be an administrator (audited)"))
    propose.add_argument("name")
    propose.add_argument("--reason", required=True, metavar="TEXT", help="told to whoever approves it")
    propose.set_defaults(run=later("accounts", "propose_administrator"))
    vouch = person(actions.add_parser("vouch", help="say that a new or reset account is a person's own (audited)"))
    vouch.add_argument("name")
    vouch.set_defaults(run=later("accounts", "vouch"))
    _add_own(actions, person, later)


def _add_own(actions: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    password = person(actions.add_parser("password", help="set your password; ends your other ways in (audited)"))
    password.set_defaults(run=later("accounts", "set_password"))
    renew = person(actions.add_parser("renew", help="put a token for a year into your credential (audited)"))
    renew.add_argument("--token-file", type=Path, metavar="FILE", help="a token that an administrator handed to you")
    renew.set_defaults(run=later("accounts", "renew_credential"))
    certificate = person(
        actions.add_parser("certificate", help="have a key of this machine certified for some hours (audited)")
    )
    certificate.add_argument("--out", type=Path, required=True, metavar="FILE", help="key and certificate, to make")
    certificate.set_defaults(run=later("accounts", "certificate"))
    factor = actions.add_parser("second-factor", help="what you show beside your password")
    steps = factor.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = person(steps.add_parser("add", help="an app with codes (TOTP); security keys are added on the page"))
    add.add_argument("--name", default="app with codes", help="what you call it [%(default)s]")
    add.set_defaults(run=later("accounts", "add_factor"))
    remove = person(steps.add_parser("remove", help="have one count no more (audited)"))
    remove.add_argument("factor", help="as `person show` prints it")
    remove.set_defaults(run=later("accounts", "remove_factor"))
    codes = person(steps.add_parser("recovery-codes", help="ten new ones; those of before are void (audited)"))
    codes.set_defaults(run=later("accounts", "recovery_codes"))


def _add_tokens(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    parser = commands.add_parser("token", help="tokens for tools, with a scope and an end")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    new = person(actions.add_parser("new", help="make one; it is shown this once (audited)"))
    new.add_argument("--name", required=True, help="what it is for")
    new.add_argument(
        "--scope", action="append", metavar="PERMISSION", help="such as status:read; several times [all that you may]"
    )
    new.add_argument("--days", type=int, default=90, metavar="N", help="until when, at most 365 [%(default)s]")
    new.set_defaults(run=later("accounts", "new_token"))
    listing = person(actions.add_parser("list", help="yours, or everybody's for whoever may see people"))
    listing.set_defaults(run=later("accounts", "list_tokens"))
    end = person(actions.add_parser("end", help="have one open nothing any more (audited)"))
    end.add_argument("token", help="its id, as `token list` prints it")
    end.set_defaults(run=later("accounts", "end_token"))


def _add_sessions(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    parser = commands.add_parser("session", help="sessions of browsers")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = person(actions.add_parser("list", help="yours, or everybody's for whoever may see people"))
    listing.set_defaults(run=later("accounts", "list_sessions"))
    end = person(actions.add_parser("end", help="end one from its next request on, or all of yours (audited)"))
    end.add_argument("session", nargs="?", help="its id, as `session list` prints it [all of yours]")
    end.set_defaults(run=later("accounts", "end_session"))


def _add_provider(commands: "Commands[argparse.ArgumentParser]", person: Person, later: Later) -> None:
    parser = commands.add_parser("oidc", help="the identity provider by which people may sign in")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    setting = person(actions.add_parser("set", help="have people sign in by an OpenID Connect provider too (audited)"))
    setting.add_argument("--issuer", required=True, metavar="URL", help="exactly as the provider writes it")
    setting.add_argument("--client-id", required=True, metavar="ID", help="what it calls this control plane")
    setting.add_argument("--client-secret-file", type=Path, metavar="FILE", help="its secret, unless it is public")
    setting.add_argument("--ca", type=Path, metavar="FILE", help="who certified it, PEM [whom this machine trusts]")
    for claim in ("amr", "acr"):
        setting.add_argument(
            f"--{claim}", action="append", default=[], metavar="VALUE",
            help=f"value of its claim {claim} that means it saw a second factor, such as mfa [ours is asked for]",
        )  # fmt: skip
    setting.set_defaults(run=later("provider", "set_provider"))
    show = person(actions.add_parser("show", help="which one, and who is bound to it"))
    show.set_defaults(run=later("provider", "show"))
    remove = person(actions.add_parser("remove", help="have nobody sign in by it any more (audited)"))
    remove.set_defaults(run=later("provider", "remove"))
    for name, told in (("bind", "let a subject of it sign in as a person"), ("unbind", "take that back")):
        binding = person(actions.add_parser(name, help=f"{told} (audited)"))
        binding.add_argument("name")
        binding.add_argument("subject", help="its claim sub for them; never an e-mail address, which others can get")
        binding.set_defaults(run=later("provider", name))
