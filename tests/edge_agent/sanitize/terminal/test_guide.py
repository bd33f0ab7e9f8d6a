"""The technician's guide shows what the program draws."""

from edge_agent.sanitize.terminal.page import Speech
from tests.edge_agent.sanitize.terminal.guide import GUIDE, drawn, pages, shown


def test_the_guide_has_every_screen_as_the_program_draws_it() -> None:
    speech = Speech("en")
    screens = {name: drawn(page, speech) for name, page in pages(speech).items()}
    in_guide = dict(shown(GUIDE.read_text()))

    assert in_guide == screens, "draw them anew: python -m tests.edge_agent.sanitize.terminal.guide"
