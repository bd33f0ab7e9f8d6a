"""The step that gives the host its identity, once: with the code that is typed or scanned, which is stored nowhere."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from edge_agent.config import AgentFolder, HostConfig, load_config
from provisioning.finding import Finding, Verdict
from provisioning.visit.answers import fix
from provisioning.visit.install import after_enrolment
from provisioning.visit.step import Context
from shared.enrolment.code import CodeUnreadable, EnrolmentCode
from shared.errors import Unavailable

_TRIES = 3
_LEAST_BYTES = 1 << 20


class NoRoomForIdentity(Unavailable):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"less than a MiB is free at {folder}, so the code was not asked for")
        self.folder = folder


class Enrol:
    name = "enrol"
    advised: Collection[str] = ()

    def run(self, context: Context) -> Sequence[Finding]:
        folder = AgentFolder(context.places.agent_data)
        if folder.identity.exists():
            return _enrolled(context, _held(context, load_config(folder), "already"))
        context.programs.own_folder(folder.path)
        _verify_room(folder.path)
        try:
            code = _code(context)
        except CodeUnreadable as exc:
            return [_failed("code", str(exc))]
        ended = context.programs.agent(
            "enrol", "--data", str(folder.path), "--url", context.site.centre, "--asset", context.site.asset,
            "--keys", context.site.keys, text_in=f"{code.text()}\n",
        )  # fmt: skip
        # What lies there counts, whatever the program managed to say of it.
        if folder.identity.exists():
            taken = Finding("code", Verdict.PASS, "taken, and of no more use to anybody")
            return [*_enrolled(context, _held(context, load_config(folder), "now")), taken]
        return [_failed("identity", ended.message or f"leadglass-agent ended with exit code {ended.exit_code}")]


def _verify_room(folder: Path) -> None:
    """A code works once, and is spent on nothing where what it brings cannot be kept. Raises NoRoomForIdentity."""
    if shutil.disk_usage(folder).free < _LEAST_BYTES:
        raise NoRoomForIdentity(folder)


def _code(context: Context) -> EnrolmentCode:
    """Return the code that was typed, asked for again while it is a typing error. Raises CodeUnreadable."""
    question = f"the code for {context.site.asset} (type, paste or scan it): "
    for _ in range(_TRIES - 1):
        text = context.ask(question)
        try:
            return EnrolmentCode.parse(text)
        except CodeUnreadable as exc:
            if not text:
                raise
            question = f"{exc}\nonce more: "
    return EnrolmentCode.parse(context.ask(question))


def _held(context: Context, config: HostConfig, when: str) -> Finding:
    if config.asset != context.site.asset:
        return Finding(
            "identity", Verdict.FAIL,
            f"this machine is enrolled as {config.host_id} for {config.asset!r}, and the visit is to "
            f"{context.site.asset!r}",
            "say --asset as it is, or have the administrator replace the host first",
        )  # fmt: skip
    return Finding("identity", Verdict.PASS, f"enrolled {when} as {config.host_id}; {config.keys.in_words}")


def _enrolled(context: Context, held: Finding) -> Sequence[Finding]:
    return [held, *after_enrolment(context)] if held.verdict is Verdict.PASS else [held]


def _failed(check: str, said: str) -> Finding:
    return Finding(check, Verdict.FAIL, said, fix(said))
