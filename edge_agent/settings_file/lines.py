"""Where something stands in a TOML file, for whoever has to put it right. It decides nothing."""

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*\"?([^\s\"=\[\].#]+)\"?\s*=")


def line_of(text: str, table: str, number: int, key: str) -> int | None:
    """Return the line of `key` in the `number`th table of that name, of the table where it has no such key.

    The table before the first header has no name. None: it is written in a way that only TOML itself understands.
    """
    here, count, of_table = "", {"": 0}, None
    for line, written in enumerate(text.split("\n"), 1):
        if (header := _HEADER.fullmatch(written)) is not None:
            here = header[2]
            count[here] = count.get(here, -1) + 1
            if (here, count[here]) == (table, number):
                of_table = line
        elif (here, count[here]) == (table, number) and (found := _KEY.match(written)) and found[1] == key:
            return line
    return of_table
