"""Draws the one page of a hand-over, in English and Chinese, what did not pass first, with the signed file attached.

What does not fit is counted and never left out in silence; what failed comes before everything else.
"""

from collections.abc import Sequence

from control_plane.paper.pen import BLACK, BOTTOM, GREY, LEFT, RIGHT, RULE, TOP, WHITE, WIDTH, Pen
from provisioning.finding import Finding, Verdict
from provisioning.handover import words
from provisioning.handover.report import ATTACHMENT, HandOver, SignedHandOver
from shared import clock
from shared.words import Words

_QR_MM = 27.0
_FILLS = {Verdict.FAIL: (176, 0, 32), Verdict.NOT_EVALUATED: (146, 84, 0), Verdict.PASS: (0, 98, 60)}
_MOST_URGENT = (Verdict.FAIL, Verdict.NOT_EVALUATED, Verdict.PASS)
_MOST_LINES = 3  # of a reason
_MOST_NAMED = 6  # lines of names, of each verdict
_APART = 0.5
_ROOMY, _DENSE = ((8.5, 20), (7.75, 20), (7.0, 20)), (7.0, 4)  # size and lines of what passed, where there is room


def draw(signed: SignedHandOver) -> bytes:
    """Return the PDF: one page, and `signed` attached to it."""
    report = signed.report
    pen = Pen(f"Leadglass hand-over {report.host_id}", report.made)
    _head(pen, signed)
    _facts(pen, report)
    foot = _foot_height(pen, signed)
    _findings(pen, report, BOTTOM - foot)
    _foot(pen, signed, BOTTOM - foot)
    pen.attach(signed.encode(), ATTACHMENT, "the signed hand-over report")
    return pen.finished()


def _head(pen: Pen, signed: SignedHandOver) -> None:
    report = signed.report
    pen.text(LEFT, pen.y, words.TITLE.en, 15)
    pen.text(LEFT, pen.y + 7.5, words.TITLE.zh, 15)
    pen.qr(f"leadglass-hand-over:sha256:{signed.sha256}", RIGHT - _QR_MM, TOP, _QR_MM)
    x, y, wide = LEFT, pen.y + 17, 48.0
    for verdict in _MOST_URGENT:
        count, said = report.count(verdict), words.VERDICTS[verdict]
        pen.box(x, y, wide, 11, _FILLS[verdict] if count else RULE)
        colour = WHITE if count else BLACK
        pen.text(x + 2, y + 1.2, str(count), 20, colour)
        pen.text(x + 16, y + 1.4, said.en, 9, colour)
        pen.text(x + 16, y + 5.8, said.zh, 9, colour)
        x += wide + 2
    pen.y = y + 14


def _facts(pen: Pen, report: HandOver) -> None:
    keys = words.KEYS_IN[report.keys.value]
    policy = ", ".join(f"{layer} {version}" for layer, version in report.policy.items()) or "none 无"
    rows: list[tuple[Words, str]] = [
        (words.ASSET, report.asset),
        (words.HOST, str(report.host_id)),
        (words.MADE, clock.text(report.made)[:19].replace("T", " ")),
        (words.POLICY, policy),
        (words.KEYS, f"{keys.en} {keys.zh}"),
        (words.CERTIFICATE, clock.text(report.certificate_until)[:19].replace("T", " ") + " UTC"),
        (words.SOFTWARE, ", ".join(f"{name} {version}" for name, version in report.software.items())),
    ]
    for label, value in rows:
        lines = pen.wrapped(value, WIDTH - 62, 8.5, 2)
        pen.text(LEFT, pen.y, label.en, 8.5, GREY)
        pen.text(LEFT + 31, pen.y, label.zh, 8.5, GREY)
        for line in lines:
            pen.text(LEFT + 62, pen.y, line, 8.5)
            pen.y += pen.height(8.5)
    pen.y += 2


def _findings(pen: Pen, report: HandOver, bottom: float) -> None:
    rest = [
        (step, found)
        for verdict in (Verdict.FAIL, Verdict.NOT_EVALUATED)
        for step, found in report.named()
        if found.verdict is verdict
    ]
    _section(pen, words.OPEN)
    if not rest:
        _both(pen, words.NOTHING_OPEN, 8.5)
    needed = sum(_row_height(pen, _reason(pen, found, _MOST_LINES)) for _, found in rest)
    manners = (one for one in _ROOMY if pen.y + needed + _beneath(pen, report, *one) <= bottom)
    size, most = next(manners, _DENSE)
    passing = _passing(pen, report, size, most)
    _open(pen, rest, bottom - _beneath(pen, report, size, most))
    pen.y += 1
    _section(pen, words.PASSED)
    if not passing:
        _both(pen, words.NONE_PASSED, 8.5)
    for line in passing:
        pen.text(LEFT, pen.y, line, size)
        pen.y += pen.height(size) + _APART


def _beneath(pen: Pen, report: HandOver, size: float, most: int) -> float:
    """Return how much room the names of what passed take."""
    return len(_passing(pen, report, size, most)) * (pen.height(size) + _APART) + 10


def _section(pen: Pen, title: Words) -> None:
    pen.rule(pen.y)
    pen.y += 1
    _both(pen, title, 9)
    pen.y += 0.6


def _both(pen: Pen, said: Words, size: float) -> None:
    pen.text(LEFT, pen.y, f"{said.en}  {said.zh}", size, GREY)
    pen.y += pen.height(size)


def _open(pen: Pen, rest: Sequence[tuple[str, Finding]], bottom: float) -> None:
    """List what did not pass, with as much of each reason as there is room for, and the rest by name."""
    rows = [_reason(pen, found, _MOST_LINES) for _, found in rest]
    for most in range(_MOST_LINES - 1, 0, -1):
        if pen.y + sum(_row_height(pen, row) for row in rows) > bottom:
            rows = [_reason(pen, found, most) for _, found in rest]
    for number, ((step, found), reason) in enumerate(zip(rest, rows, strict=True)):
        left = rest[number + 1 :]
        named = len(_by_name(pen, left)) * pen.height(7) if left else 0
        if pen.y + _row_height(pen, reason) + named > bottom:
            _name(pen, rest[number:])
            return
        _row(pen, step, found, reason)


def _by_name(pen: Pen, rest: Sequence[tuple[str, Finding]]) -> list[str]:
    """Return lines that name findings without their reasons; those for which there is no room at all are counted."""
    lines = [f"{words.more(len(rest)).en}  {words.more(len(rest)).zh}:"]
    for verdict in (Verdict.FAIL, Verdict.NOT_EVALUATED):
        names = [f"{found.check} {words.check_zh(found.check)}" for _, found in rest if found.verdict is verdict]
        if names:
            said = words.VERDICTS[verdict]
            listed = "; ".join(name.rstrip() for name in names)
            lines += pen.wrapped(f"{said.en} {said.zh} ({len(names)}): {listed}", WIDTH, 7, _MOST_NAMED)
    return lines


def _name(pen: Pen, rest: Sequence[tuple[str, Finding]]) -> None:
    for line in _by_name(pen, rest):
        pen.text(LEFT, pen.y, line, 7)
        pen.y += pen.height(7)


def _reason(pen: Pen, found: Finding, most: int) -> list[str]:
    said = f"{found.reason} → {found.fix}" if found.fix else found.reason
    return pen.wrapped(said, WIDTH - 84, 7.5, most)


def _row_height(pen: Pen, reason: Sequence[str]) -> float:
    return max(2, len(reason)) * pen.height(7.5) + 1


def _row(pen: Pen, step: str, found: Finding, reason: Sequence[str]) -> None:
    said, line = words.VERDICTS[found.verdict], pen.height(7.5)
    pen.box(LEFT, pen.y, 25, 2 * line - 0.3, _FILLS[found.verdict])
    pen.text(LEFT + 1, pen.y + 0.1, said.en, 7.5, WHITE)
    pen.text(LEFT + 1, pen.y + line - 0.1, said.zh, 7.5, WHITE)
    named = words.STEPS[step]
    for down, (left, right) in enumerate(((named.en, found.check), (named.zh, words.check_zh(found.check)))):
        pen.text(LEFT + 27, pen.y + down * line, left, 7.5, GREY)
        pen.text(LEFT + 50, pen.y + down * line, *pen.fitting(right, 33, 7.5))
    for down, text in enumerate(reason):
        pen.text(LEFT + 84, pen.y + down * line, text, 7.5)
    pen.y += _row_height(pen, reason)


def _passing(pen: Pen, report: HandOver, size: float, most: int) -> list[str]:
    """Return the names of what passed, step by step and each counted, in at most so many lines of each."""
    lines = list[str]()
    for outcome in report.steps:
        passed = [found.check for found in outcome.findings if found.verdict is Verdict.PASS]
        if passed:
            named = words.STEPS[outcome.step]
            checks = "; ".join(f"{check} {words.check_zh(check)}".rstrip() for check in passed)
            lines += pen.wrapped(f"{named.en} {named.zh} ({len(passed)}): {checks}", WIDTH, size, most)
    return lines


def _foot_lines(signed: SignedHandOver) -> list[tuple[str, float]]:
    verify = f"leadglass-verify hand-over {ATTACHMENT} --root ca.pem"
    return [
        (words.TO_VERIFY.en, 7),
        (f"{words.TO_VERIFY.zh} {verify}", 7),
        (f"{words.DIGEST.en} {words.DIGEST.zh}", 7),
        (signed.sha256, 8),
        (f"{words.SIGNED_WITH.en} {words.SIGNED_WITH.zh} {signed.key_id}", 7),
        (f"{words.NO_PATIENT.en} {words.NO_PATIENT.zh} {words.REASONS.zh}", 7),
    ]


def _foot_height(pen: Pen, signed: SignedHandOver) -> float:
    return 24 + sum(pen.height(size) for _, size in _foot_lines(signed))


def _foot(pen: Pen, signed: SignedHandOver, top: float) -> None:
    pen.rule(top)
    pen.y = top + 1.5
    half = WIDTH / 2
    persons = ((words.ENGINEER, signed.report.engineer), (words.RECEIVED_BY, signed.report.received_by))
    for number, (role, name) in enumerate(persons):
        x = LEFT + number * half
        pen.text(x, pen.y, f"{role.en} {role.zh}", 8.5, GREY)
        for down, line in enumerate(pen.wrapped(name, half - 42, 9, 2)):
            pen.text(x + 40, pen.y + down * pen.height(9), line, 9)
        pen.line(x + 40, x + half - 6, top + 19)
    pen.text(LEFT, top + 11, words.AS_TYPED.en, 7, GREY)
    pen.text(LEFT, top + 14.5, words.AS_TYPED.zh, 7, GREY)
    pen.y = top + 21.5
    for line, size in _foot_lines(signed):
        pen.text(LEFT, pen.y, line, size, GREY if size == 7 else BLACK)
        pen.y += pen.height(size)
