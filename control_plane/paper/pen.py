"""Writes text at places of a page in millimetres, in English and Chinese, and never clips any in silence."""

from datetime import datetime

import segno
from fpdf import FPDF
from fpdf.fonts import TTFFont
from pylopdf_fonts_zh_cn import sans_path

Colour = tuple[int, int, int]

LEFT, RIGHT, TOP, BOTTOM = 14.0, 196.0, 12.0, 285.0
WIDTH = RIGHT - LEFT
BLACK: Colour = (0, 0, 0)
GREY: Colour = (95, 95, 95)
WHITE: Colour = (255, 255, 255)
RULE: Colour = (190, 190, 190)
_FONT = "sans"
_MM_OF_PT = 0.3528
_LEADING = 1.32


class Pen:
    """`y` is where the next line goes. A character without a picture is named by its number."""

    def __init__(self, title: str, made: datetime) -> None:
        self.pdf = FPDF(format="A4", unit="mm")
        self.pdf.set_auto_page_break(False)
        self.pdf.set_lang("en")
        self.pdf.set_title(title)
        self.pdf.set_creation_date(made)
        self.pdf.add_font(_FONT, "", sans_path())
        self.pdf.set_font(_FONT, size=8)
        font = self.pdf.fonts[_FONT]
        assert isinstance(font, TTFFont)  # noqa: S101 (it was read from a file above)
        self._pictures = font.cmap
        self.y = TOP
        self.new_page()

    def new_page(self) -> None:
        self.pdf.add_page()
        self.y = TOP

    def attach(self, data: bytes, name: str, what: str) -> None:
        self.pdf.embed_file(bytes=data, basename=name, mime_type="application/json", desc=what)

    def finished(self) -> bytes:
        return bytes(self.pdf.output())

    def shown(self, text: str) -> str:
        return "".join(one if ord(one) in self._pictures else _not_shown(ord(one)) for one in text)

    def height(self, size: float) -> float:
        return size * _MM_OF_PT * _LEADING

    def width(self, text: str, size: float) -> float:
        self.pdf.set_font(_FONT, size=size)
        return self.pdf.get_string_width(text)

    def text(self, x: float, y: float, text: str, size: float, colour: Colour = BLACK) -> None:
        self.pdf.set_font(_FONT, size=size)
        self.pdf.set_text_color(*colour)
        self.pdf.text(x, y + size * _MM_OF_PT, text)

    def wrapped(self, text: str, width: float, size: float, most: int | None = None) -> list[str]:
        """Return `text` in lines of at most `width`; what is left of it after `most` of them as an ellipsis."""
        lines, line = list[str](), ""
        for word in _breakable(self.shown(text)):
            if line and self.width(line + word.rstrip(), size) > width:
                lines.append(line.rstrip())
                line = ""
            line += word
        lines.append(line.rstrip())
        if most is None or len(lines) <= most:
            return lines
        last = lines[most - 1]
        while last and self.width(f"{last}…", size) > width:
            last = last[:-1]
        return [*lines[: most - 1], f"{last}…"]

    def fitting(self, text: str, width: float, size: float, least: float = 5) -> tuple[str, float]:
        """Return `text` and the size at which it fits."""
        while size > least and self.width(text, size) > width:
            size -= 0.25
        return text, size

    def box(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        self.pdf.set_fill_color(*fill)
        self.pdf.rect(x, y, width, height, style="F")

    def rule(self, y: float) -> None:
        self.line(LEFT, RIGHT, y)

    def line(self, left: float, right: float, y: float) -> None:
        self.pdf.set_draw_color(*RULE)
        self.pdf.set_line_width(0.2)
        self.pdf.line(left, y, right, y)

    def qr(self, text: str, x: float, y: float, side: float) -> None:
        rows = list(segno.make_qr(text, error="m").matrix_iter(border=0))
        dot = side / len(rows)
        self.pdf.set_fill_color(*BLACK)
        for down, row in enumerate(rows):
            for across, dark in enumerate(row):
                if dark:
                    self.pdf.rect(x + across * dot, y + down * dot, dot, dot, style="F")


def _breakable(text: str) -> list[str]:
    """Return pieces between which a line may break: after a blank, and beside a character of Chinese."""
    pieces, piece = list[str](), ""
    for one in text:
        if one >= "\u2e80":
            pieces += [piece, one] if piece else [one]
            piece = ""
        elif one == " " or len(piece) >= 40:
            pieces.append(piece + one)
            piece = ""
        else:
            piece += one
    return [*pieces, piece] if piece else pieces


def _not_shown(code_point: int) -> str:
    return f"[not shown 未显示 U+{code_point:04X}]"
