"""Where the database of a data folder is: as it was given now, as the first start noted it, or in the folder itself."""

import os
from collections.abc import Mapping

from control_plane.db.engine import DatabaseRefused, parse_url, sqlite_url
from control_plane.durable import write_new
from control_plane.settings import Folders

VARIABLE = "LEADGLASS_DATABASE"
_MAX_URL_BYTES = 4096


def given(option: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL that whoever started us gave, None where nobody did. Raises DatabaseRefused."""
    if option is not None and parse_url(option).password is not None:
        raise DatabaseRefused(
            "everybody on this machine can read a command line, so it may hold no password; name a file with it by "
            f"?passfile=FILE at the end of the URL, or give the URL in {VARIABLE}"
        )
    return option or environment.get(VARIABLE) or None


def url_of(folders: Folders) -> str:
    """Raises DatabaseRefused."""
    if folders.given_url is not None:
        return folders.given_url
    try:
        with folders.noted_url.open("rb") as file:
            return file.read(_MAX_URL_BYTES).decode().strip()
    except FileNotFoundError:
        return sqlite_url(folders.database)
    except UnicodeDecodeError as exc:
        raise DatabaseRefused(f"{folders.noted_url} is not text") from exc


def note(folders: Folders) -> None:
    """Have commands find the database by the data folder alone, but for its password, which is never written down."""
    if folders.given_url is not None:
        url = parse_url(folders.given_url)._replace(password=None)
        write_new(folders.noted_url, f"{url.render_as_string(hide_password=False)}\n".encode())
