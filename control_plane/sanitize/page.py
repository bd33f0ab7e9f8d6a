"""Draws a wipe's certificate, in English and Chinese, from the signed file that is attached to it.

Page one has what somebody who trusts the drive to be empty must know: result, class, serial number and who says it,
what was not reached, what was read back, and by whom. What does not fit goes on; nothing is cut.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from control_plane.paper.pen import BOTTOM, GREY, LEFT, RIGHT, TOP, WHITE, WIDTH, Pen
from control_plane.sanitize import page_words as words
from shared import clock
from shared.audit.record import AuditRecord
from shared.sanitization import words as names
from shared.sanitization.certificate import ATTACHMENT, Statement, WipeCertificate
from shared.sanitization.destruction import Destruction
from shared.sanitization.details import in_both
from shared.sanitization.judged import NotReached, Place, Result
from shared.sanitization.report import Checked, HiddenKind, Step, StepOutcome, WipeReport
from shared.sanitization.technique import Fact, Technique
from shared.sanitization.technique import Facts as HealthFacts
from shared.words import Words

QR_TEXT = "leadglass-wipe:{order}:sha256:{digest}"
_QR_MM = 30.0
_GREEN, _AMBER = (0, 98, 60), (146, 84, 0)
_UNCLOUDED = frozenset({Result.PURGED_VERIFIED, Result.CLEARED_VERIFIED})
_LABEL, _SIZE = 64.0, 8.5
_MAX_LISTED = 500


def draw(certificate: WipeCertificate) -> bytes:
    """Return the PDF, the file attached to it; nothing of it is signed as a PDF yet."""
    statement = certificate.body.statement
    sheet = _Sheet(certificate)
    _head(sheet, statement)
    _drive(sheet, statement)
    _not_reached(sheet, statement)
    _read_back(sheet, statement)
    _people(sheet, statement)
    _grounds(sheet, statement)
    _stated(sheet, statement)
    if statement.reported is not None:
        sheet.next_page()
        _evidence(sheet, statement.reported.report)
    _proof(sheet, certificate)
    sheet.pen.attach(certificate.encoded, ATTACHMENT, "the signed certificate, with all that proves it")
    return sheet.pen.finished()


class _Sheet:
    """Pages on which rows follow each other; the first has a foot that says how to verify it."""

    def __init__(self, certificate: WipeCertificate) -> None:
        statement = certificate.body.statement
        self._order, self._number = str(statement.ticket.ticket_id), 1
        self.pen = Pen(f"{words.TITLE.en} {self._order}", statement.made)
        lines = _foot(certificate)
        self._bottom = BOTTOM - sum(self.pen.height(size) for _, size in lines) - 2
        self.pen.rule(self._bottom + 1)
        y = self._bottom + 2.5
        for text, size in lines:
            self.pen.text(LEFT, y, text, size, GREY)
            y += self.pen.height(size)

    def room(self, height: float) -> None:
        """Go on to the next page where there is less left than `height`."""
        if self.pen.y + height > self._bottom:
            self.next_page()

    def next_page(self) -> None:
        self.pen.new_page()
        self._number, self._bottom = self._number + 1, BOTTOM
        self.pen.text(LEFT, TOP, f"{words.TITLE.en} {words.TITLE.zh}  {self._order}  - {self._number} -", 7, GREY)
        self.pen.y = TOP + 6

    def section(self, title: Words) -> None:
        self.room(14)
        self.pen.y += 1.5
        self.pen.rule(self.pen.y)
        self.pen.y += 1
        self.pen.text(LEFT, self.pen.y, f"{title.en}  {title.zh}", 9.5, GREY)
        self.pen.y += self.pen.height(9.5) + 0.5

    def row(self, label: Words, value: str, size: float = _SIZE) -> None:
        lines = self.pen.wrapped(value, WIDTH - _LABEL, size)
        self.room(self.pen.height(size) * min(2, len(lines)))
        self.pen.text(LEFT, self.pen.y, *self.pen.fitting(f"{label.en}  {label.zh}", _LABEL - 2, _SIZE), GREY)
        self._lines(LEFT + _LABEL, lines, size)

    def line(self, text: str, size: float = _SIZE, indent: float = 0.0) -> None:
        self._lines(LEFT + indent, self.pen.wrapped(text, WIDTH - indent, size), size)

    def both(self, said: Words, more: str = "") -> None:
        self.line(" ".join(part for part in (f"• {said.en}", said.zh, more) if part))

    def _lines(self, x: float, lines: Sequence[str], size: float) -> None:
        for line in lines:
            self.room(self.pen.height(size))
            self.pen.text(x, self.pen.y, line, size)
            self.pen.y += self.pen.height(size)


def _foot(certificate: WipeCertificate) -> list[tuple[str, float]]:
    statement = certificate.body.statement
    return [
        (words.TO_VERIFY.en, 7),
        (f"{words.TO_VERIFY.zh} leadglass-verify certificate THIS.pdf --ca root.pem", 7),
        (f"{words.DIGEST.en} {words.DIGEST.zh}", 7),
        (statement.sha256, 8),
        (f"{words.SIGNED_WITH.en} {words.SIGNED_WITH.zh} {certificate.key_id}", 7),
    ]


def _head(sheet: _Sheet, statement: Statement) -> None:
    pen, judged = sheet.pen, statement.judged
    pen.text(LEFT, pen.y, words.TITLE.en, 16)
    pen.text(LEFT, pen.y + 8, words.TITLE.zh, 16)
    order = str(statement.ticket.ticket_id)
    pen.text(LEFT, pen.y + 17, f"{words.ORDER.en} {words.ORDER.zh} {order}", _SIZE, GREY)
    pen.text(LEFT, pen.y + 21.5, f"{_time(statement.made)} UTC", _SIZE, GREY)
    pen.qr(QR_TEXT.format(order=order, digest=statement.sha256), RIGHT - _QR_MM, TOP, _QR_MM)
    result, reached = names.RESULTS[judged.result], names.CLASSES[judged.reached]
    top = pen.y + _QR_MM + 3
    pen.box(LEFT, top, WIDTH, 19, _GREEN if judged.result in _UNCLOUDED else _AMBER)
    pen.text(LEFT + 3, top + 1.5, *pen.fitting(f"{result.en}  {result.zh}", WIDTH - 6, 18), WHITE)
    said = f"{words.CLASS.en} {words.CLASS.zh}:  {reached.en.upper()}  {reached.zh}"
    pen.text(LEFT + 3, top + 12, *pen.fitting(said, WIDTH - 6, 10), WHITE)
    pen.y = top + 22


def _drive(sheet: _Sheet, statement: Statement) -> None:
    drive = statement.ticket.drive
    sheet.row(words.SERIAL, drive.serial, 13)
    report = None if statement.reported is None else statement.reported.report
    if report is not None:
        source = names.SERIAL_SOURCES[report.medium.serial_source]
        sheet.row(words.SERIAL_FROM, f"{source.en}  {source.zh}")
        kind = names.MEDIA[report.medium.kind]
        model = (report.medium.vendor, report.medium.model, report.medium.firmware)
        sheet.row(words.DRIVE, " ".join(part for part in model if part))
        sheet.row(words.KIND, f"{kind.en}  {kind.zh}")
    else:
        source = words.FROM_ORDER
        sheet.row(words.SERIAL_FROM, f"{source.en}  {source.zh}")
        sheet.row(words.DRIVE, drive.model)
    sheet.row(words.SIZE, f"{_count(drive.size_bytes)} bytes")
    sheet.row(words.WWN, drive.wwn or f"{words.NONE.en} {words.NONE.zh}")
    sheet.row(words.ASSET, statement.ticket.asset)
    sheet.row(words.METHOD, "; ".join(_methods(statement)))
    if report is not None:
        sheet.row(words.TOOL, ", ".join(dict.fromkeys((report.software, *(step.tool for step in report.steps)))))
        sheet.row(words.WHEN, f"{_time(report.started)} - {_time(report.ended)}")


def _methods(statement: Statement) -> Iterator[str]:
    if statement.reported is None:
        yield " ".join(names.TECHNIQUES[Technique.DESTRUCTION])
        return
    done = [step for step in statement.reported.report.steps if step.outcome is StepOutcome.DONE]
    for technique in dict.fromkeys(step.technique for step in done):
        said = " ".join(names.TECHNIQUES[technique])
        if technique is Technique.OVERWRITE:
            said += ": " + " ".join(names.SEQUENCES[statement.ticket.method.sequence])
        yield said


def _not_reached(sheet: _Sheet, statement: Statement) -> None:
    sheet.section(words.NOT_REACHED)
    if not statement.judged.not_reached:
        sheet.both(words.NOT_LOOKED if statement.reported is None else words.NOTHING_LEFT)
    for one in statement.judged.not_reached:
        sheet.both(names.PLACES[one.place], _how_much(one))


def _how_much(one: NotReached) -> str:
    count = "" if one.sectors is None else f"({_sectors(one.sectors)})"
    listed = ", ".join(f"{extent.first}+{extent.count}" for extent in one.listed[:_MAX_LISTED])
    return " ".join(part for part in (count, _of_place(one), listed) if part)


def _of_place(one: NotReached) -> str:
    """Return its detail, which of a hidden area is its kind."""
    if one.place in (Place.HIDDEN_AREA, Place.HIDDEN_AREA_UNKNOWN):
        return _both(names.HIDDEN_KINDS[HiddenKind(one.detail)])
    return in_both(one.detail)


def _read_back(sheet: _Sheet, statement: Statement) -> None:
    sheet.section(words.READ_BACK)
    checks = () if statement.reported is None else statement.reported.report.checks
    if not checks:
        sheet.both(words.NO_READ_BACK)
    for check in checks:
        sheet.line(f"• {_checked(check)}")


def _checked(check: Checked) -> str:
    amount, expected = names.READ_BACKS[check.amount], names.EXPECTED[check.expected]
    pattern = f" {check.pattern}" if check.pattern else ""
    return (
        f"{amount.en} {amount.zh}, {expected.en} {expected.zh}{pattern}: {_count(check.bytes_equal)} of "
        f"{_count(check.bytes_read)} bytes as expected 字节相符; {check.tool}"
    )


def _people(sheet: _Sheet, statement: Statement) -> None:
    sheet.section(words.BY_WHOM)
    ticket, destruction = statement.ticket, statement.destruction
    if statement.reported is not None:
        report = statement.reported.report
        typed = f" ({words.TYPED.en} {words.TYPED.zh}: {report.typed_person or words.NONE.en})"
        sheet.row(words.TECHNICIAN, ticket.person + typed)
        sheet.row(words.HOST, str(report.host_id))
        if report.overridden or report.undelivered:
            lost = f"{words.UNDELIVERED.en} {words.UNDELIVERED.zh}: {_counted(report.undelivered)}"
            sheet.row(words.OVERRIDDEN, ", ".join((*(one.value for one in report.overridden), lost)))
    if destruction is not None:
        _destroyed(sheet, destruction)
    sheet.row(words.REQUESTER, ticket.requester)
    approvers = ", ".join(one.name for one in statement.approvals)
    sheet.row(words.APPROVERS, approvers or f"{words.NONE.en} {words.NONE.zh}")
    by_centre = words.COUNTERSIGNED if statement.reported is None else words.CENTRE
    sheet.row(words.VERIFIER, f"{statement.certified_by}; {by_centre.en} {by_centre.zh}, {statement.software}")


def _destroyed(sheet: _Sheet, destruction: Destruction) -> None:
    sheet.row(words.MEANS, destruction.means)
    sheet.row(words.RECORDED_BY, f"{destruction.recorded_by}, {_time(destruction.time)} UTC")
    sheet.row(words.WITNESS, destruction.witness)
    photographs = ", ".join(one.hex() for one in destruction.photographs)
    sheet.row(words.PHOTOGRAPHS, photographs or f"{words.NONE.en} {words.NONE.zh}")


def _grounds(sheet: _Sheet, statement: Statement) -> None:
    sheet.section(words.RESTS_ON)
    for why in statement.judged.why:
        sheet.both(names.WHYS[why])
    reason = names.REASONS[statement.ticket.reason]
    sheet.row(words.REASON, f"{reason.en}  {reason.zh}")


def _stated(sheet: _Sheet, statement: Statement) -> None:
    sheet.section(words.STATED)
    missing = f"{words.NOT_STATED.en}  {words.NOT_STATED.zh}"
    for name, value in statement.facts.json().items():
        sheet.row(words.FACTS[name], str(value) or missing)


def _evidence(sheet: _Sheet, report: WipeReport) -> None:
    sheet.section(words.STEPS)
    for step in report.steps:
        _step(sheet, step)
    sheet.section(words.CHECKS)
    for check in report.checks:
        sheet.line(f"• {_checked(check)}", 7.5)
        seeds = ((words.SAMPLE_SEED, check.sample_seed), (words.STREAM_SEED, check.stream_seed))
        _details(sheet, [(name, seed.hex()) for name, seed in seeds if seed is not None])
        _details(sheet, [(words.FROM_TO, f"{_time(check.started)} - {_time(check.ended)}")])
    sheet.section(words.CONSIDERED)
    for one in report.considered:
        available = _both(names.AVAILABLE[one.available])
        sheet.line(f"• {_both(names.TECHNIQUES[one.technique])}: {available}; {in_both(one.why)}", 7.5)
    sheet.section(words.HIDDEN)
    for area in report.hidden:
        said = f"{_both(names.HIDDEN_KINDS[area.kind])}: {_both(names.HIDDEN_STATES[area.state])}"
        sheet.line(f"• {said}, {_sectors(area.sectors)}; {in_both(area.detail)}", 7.5)
    if not report.hidden:
        sheet.both(words.NONE)
    sheet.section(words.HEALTH)
    for facts in (report.health_before, report.health_after):
        sheet.line(f"• {_told(facts)}", 7.5)


def _step(sheet: _Sheet, step: Step) -> None:
    part = f" {in_both(step.part)}" if step.part else ""
    technique, outcome = _both(names.TECHNIQUES[step.technique]), _both(names.OUTCOMES[step.outcome])
    sheet.line(f"• {technique}{part}: {outcome}; {step.tool}", 7.5)
    told = [
        (words.SEEN, ", ".join(map(_yes, (step.accepted, step.progress_seen, step.completed)))),
        (words.FROM_TO, f"{_time(step.started)} - {_time(step.ended)}"),
    ]
    if step.pattern:
        written = f"{_count(step.bytes_written)} / {_count(step.bytes_total)} bytes 字节; {step.retries} retries 次重试"
        told += [(words.PATTERN, step.pattern), (words.WRITTEN, written)]
    if step.seed is not None and step.commitment is not None:
        told += [(words.SEED, step.seed.hex()), (words.COMMITMENT, step.commitment.hex())]
    if step.facts:
        told.append((words.STATED_FACTS, _told(step.facts)))
    if step.detail:
        told.append((words.DETAIL, in_both(step.detail)))
    _details(sheet, told)


def _details(sheet: _Sheet, told: Iterable[tuple[Words, str]]) -> None:
    for name, value in told:
        sheet.line(f"{_both(name)}: {value}", 7, indent=4)


def _proof(sheet: _Sheet, certificate: WipeCertificate) -> None:
    sheet.section(words.PROOF)
    ticket = certificate.body.statement.ticket
    amount = names.READ_BACKS[ticket.method.read_back]
    sheet.row(
        words.LEAST, f"{ticket.method.least.value}; {words.READ_BACK.en} {words.READ_BACK.zh}: {' '.join(amount)}"
    )
    sheet.row(words.HELD, f"{_time(ticket.issued)} - {_time(ticket.expires)} UTC")
    record = AuditRecord.parse(certificate.body.record)
    sheet.row(words.RECORDED, f"{record.seq}, {_time(record.time)} UTC")
    for approval in certificate.body.statement.approvals:
        sheet.line(f"• {approval.name}: {_both(words.KEY)} {approval.key.key_id}", 7.5)
    sheet.line(f"• {_both(words.TICKET_DIGEST)} {ticket.digest.hex()}", 7.5)


def _told(facts: HealthFacts) -> str:
    return ", ".join(f"{_fact(name)} {_value(value)}" for name, value in facts.items()) or _both(words.NONE)


def _fact(name: str) -> str:
    """Return the key itself, with what it is called; the headers of LUKS volumes are numbered ones."""
    return name if name not in names.FACTS else f"{name} ({names.FACTS[name].zh})"


def _value(value: Fact) -> str:
    if isinstance(value, bool):
        return _yes(value)
    return in_both(value) if isinstance(value, str) else str(value)


def _both(said: Words) -> str:
    return f"{said.en} {said.zh}"


def _sectors(count: int) -> str:
    return f"{_count(count)} sectors 扇区"


def _time(instant: datetime | None) -> str:
    return "?" if instant is None else clock.text(instant)[:19].replace("T", " ")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _counted(number: int) -> str:
    return "not counted 未统计" if number < 0 else str(number)


def _yes(fact: bool) -> str:  # noqa: FBT001
    return _both(words.YES if fact else words.NO)
