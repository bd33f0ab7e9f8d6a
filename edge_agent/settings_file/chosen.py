"""What `leadglass-agent run` goes by: its options, then the file, then what is so unless somebody says otherwise."""

import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from edge_agent.export_folder.named import parse as parse_named
from edge_agent.settings_file.document import MAX_BYTES, AgentSettings, NamedFolder, parse
from shared.errors import Malformed, Unavailable

_SAME_NAME = ("dicom_host", "dicom_port", "dicom_tls_port", "ae_title")


class SettingsUnreadable(Unavailable):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"the settings in {file} cannot be read: {why}")
        self.file, self.why = file, why


def load(file: Path) -> AgentSettings:
    """Raises SettingsUnreadable, Malformed, OtherVersion."""
    try:
        with file.open("rb") as opened:
            return parse(opened.read(MAX_BYTES + 1), str(file))
    except OSError as exc:
        raise SettingsUnreadable(file, exc.strerror or type(exc).__name__) from exc


def chosen(options: Namespace) -> AgentSettings:
    """Return the settings of `run`. Raises SettingsUnreadable, Malformed, OtherVersion."""
    if options.config is None and options.data is None:
        raise Malformed("run", "give --config FILE, or --data DIR")
    settings = AgentSettings() if options.config is None else load(options.config)
    given = {name: getattr(options, name) for name in _SAME_NAME if getattr(options, name) is not None}
    for name in ("data", "guard_socket"):
        if (path := getattr(options, name)) is not None:
            given[name] = str(path)
    if options.export_folder is not None:
        given["export_folders"] = tuple(map(named_folder, options.export_folder))
    return replace(settings, **given)


def named_folder(text: str) -> NamedFolder:
    """Read `AE_TITLE=/path`. Raises Malformed."""
    named = parse_named(text)
    return NamedFolder(named.ae_title, os.fsdecode(named.path))
