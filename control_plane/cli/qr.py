"""QR codes: enrolment codes in a terminal and as a sheet to print, and longer text in several codes.

Whoever prints a sheet prints secrets; the file is for its owner alone.
"""

from collections.abc import Sequence
from html import escape
from io import StringIO
from math import ceil

import segno

_COLUMNS, _CELL_W_MM, _CELL_H_MM, _QR_MM, _MARGIN_MM = 3, 66, 84, 54, 6


def in_terminal(code: str) -> str:
    drawn = StringIO()
    segno.make_qr(code, error="m").terminal(drawn, compact=True)
    return drawn.getvalue()


def print_lines(lines: Sequence[str]) -> None:
    """Print long text that was cut into lines, each as a code and as what it holds."""
    for number, line in enumerate(lines, 1):
        drawn = StringIO()
        segno.make_qr(line, error="l").terminal(drawn, compact=True)
        print(f"{number} of {len(lines)}\n{drawn.getvalue()}{line}")


def sheet(codes: Sequence[tuple[str, str, str]]) -> str:
    """Return an SVG of code, asset and end of each; three in a row, in millimetres."""
    rows = ceil(len(codes) / _COLUMNS)
    cells = "".join(
        _cell(code, asset, until, number % _COLUMNS * _CELL_W_MM, number // _COLUMNS * _CELL_H_MM)
        for number, (code, asset, until) in enumerate(codes)
    )
    width, height = _COLUMNS * _CELL_W_MM, rows * _CELL_H_MM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{cells}</svg>\n'
    )


def _cell(code: str, asset: str, until: str, x: int, y: int) -> str:
    made = segno.make_qr(code, error="m")
    modules = made.symbol_size(border=4)[0]
    drawn = made.svg_inline(border=4, omitsize=True, unit=None)
    placed = drawn.replace("<svg", f'<svg x="{_MARGIN_MM}" y="2" width="{_QR_MM}" height="{_QR_MM}"', 1)
    if "viewBox" not in placed:
        placed = placed.replace("<svg", f'<svg viewBox="0 0 {modules} {modules}"', 1)
    halves = code[: len(code) // 2], code[len(code) // 2 :]
    lines = (
        ("4", escape(asset)),
        ("2.2", escape(halves[0])),
        ("2.2", escape(halves[1])),
        ("2.6", f"until {escape(until)}"),
    )
    text = "".join(
        f'<text x="{_MARGIN_MM}" y="{_QR_MM + 8 + 5 * place}" font-size="{size}" font-family="monospace">{line}</text>'
        for place, (size, line) in enumerate(lines)
    )
    return f'<g transform="translate({x} {y})">{placed}{text}</g>'
