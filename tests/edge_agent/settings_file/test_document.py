"""The agent's settings file: what it says, what it refuses and on which line, and how another version of it is met."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.__main__ import command_line
from edge_agent.settings_file.chosen import SettingsUnreadable, chosen
from edge_agent.settings_file.document import AgentSettings, NamedFolder, OtherVersion, parse
from edge_agent.settings_file.migrate import MigrationFailed, migrate
from shared.errors import Malformed, Refused

WHOLE = AgentSettings(
    data="/srv/leadglass",
    dicom_host="10.1.2.3",
    dicom_port=104,
    dicom_tls_port=2762,
    ae_title="LEAD GLASS",
    modalities=("10.1.2.0/24", "fd00::/8"),
    archives=("10.9.0.7", "pacs.hospital"),
    export_folders=(NamedFolder("CT1", "/srv/ct 1"), NamedFolder("MR=1", '/srv/"quoted"\\')),
)
paths = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30).map(lambda text: f"/{text}")
titles = st.from_regex(r"[A-Z0-9=\"']{1,16}", fullmatch=True)
values = st.builds(
    AgentSettings,
    data=paths,
    guard_socket=paths,
    dicom_port=st.integers(0, 65_535),
    dicom_tls_port=st.none() | st.integers(0, 65_535),
    ae_title=titles,
    modalities=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    archives=st.lists(st.sampled_from(["pacs", "10.0.0.0/8"]), max_size=3).map(tuple),
    export_folders=st.lists(st.builds(NamedFolder, titles, paths), max_size=3).map(tuple),
)


@settings(max_examples=40)
@given(values)
def test_what_is_written_reads_back(value: AgentSettings) -> None:
    assert parse(value.text().encode()) == value


def test_only_the_version_has_to_be_there() -> None:
    assert parse(b"version = 1\n") == AgentSettings()


@pytest.mark.parametrize(
    "text, says",
    [
        ("version = 1\n\nspool = 3\n", "x line 3, spool is malformed: this key is not known"),
        ("version = 1\n[dicom]\n# why\nprot = 104\n", "x line 4, [dicom] prot"),
        ("version = 1\n[dicom]\nport = 'x'\n", "x line 3, [dicom] port is malformed: expected a whole number"),
        ("version = 1\n[dicom]\nport = 65536\n", "x line 3, [dicom] port"),
        ("version = 1\n[dicom]\nport = true\n", "x line 3, [dicom] port"),
        ("version = 1\n[network]\nmodalities = ['10.1.2.3/24']\n", "x line 3, [network] modalities"),
        ("version = 1\n[network]\nmodalities = ['ct1']\n", "x line 3, [network] modalities"),
        ("version = 1\n[[export_folder]]\nae_title = 'A'\npath = 'srv'\n", "x line 4, [export_folder] path"),
        ("version = 1\n" + "[[export_folder]]\nae_title = 'A'\npath = '/a'\n" * 2 + "no = 1\n", "x line 8, [export_"),
        ("version = 1\n[[export_folder]]\nae_title = 'A'\n", "x line 2, [export_folder] path is malformed: missing"),
        ("data = '/x'\n", "x, version is malformed: missing"),
        ("version = '1'\n", "x line 1, version"),
        ("version = 0\n", "x line 1, version"),
        ('version = 1\ndata = "/a\\u0000"\n', "x line 2, data"),
        ("version = 1\ndata == 3\n", "line 2, column"),
        ("version = 1\nversion = 1\n", "x is malformed: not TOML"),
        ("version = 1\n# \udcff", "x line 2 is malformed: not UTF-8"),
        ("version = 1\n" + "#" * 65_536, "larger than"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text.encode(errors="surrogateescape"), "x")

    assert says in str(refused.value)


@given(st.data())
def test_a_file_that_was_altered_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    text = bytearray(WHOLE.text().encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(Refused):
        assert parse(parse(bytes(text)).text().encode()) == parse(bytes(text))


# ---- the program's options


def options(*given: str) -> Namespace:
    return command_line().parse_args(["run", *given])


def test_options_win_over_the_file_and_the_file_over_what_is_usual(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(WHOLE.text())

    assert chosen(options("--config", str(file))) == WHOLE
    asked = ("--dicom-port", "0", "--export-folder", "CT9=/srv/ct9", "--data", "/srv/x")
    changed = chosen(options("--config", str(file), *asked))
    assert (changed.dicom_port, changed.dicom_host, changed.data) == (0, "10.1.2.3", "/srv/x")
    assert changed.export_folders == (NamedFolder("CT9", "/srv/ct9"),)
    assert chosen(options("--data", "/x")) == AgentSettings(data="/x")


@pytest.mark.parametrize("given", [(), ("--data", "/x", "--export-folder", "CT1=srv")])
def test_a_start_that_says_too_little_or_nonsense_is_refused(given: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        chosen(options(*given))


def test_a_file_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(SettingsUnreadable, match="No such file"):
        chosen(options("--config", str(tmp_path / "none")))


# ---- other versions


def test_a_newer_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(OtherVersion, match=r"version 2, and this program reads version 1: install the newer"):
        parse(b"version = 2\nunknown = 'x'\n")


def renamed(text: str) -> str:
    """What version 2 might be: another word for a key. The comments stay."""
    return text.replace("version = 1", "version = 2").replace("ae_title", "title")


OLD = "# mine\nversion = 1\n[dicom]\nae_title = 'A' # keep\n"


def test_a_migration_goes_step_by_step_and_leaves_the_comments() -> None:
    steps = {1: renamed, 2: lambda text: text.replace("version = 2", "version = 3")}
    migrated = migrate(OLD, "x", steps, newest=3)

    assert (migrated.before, migrated.text) == (1, "# mine\nversion = 3\n[dicom]\ntitle = 'A' # keep\n")
    assert migrate(migrated.text, "x", steps, newest=3).text == migrated.text


def test_a_version_without_a_way_and_one_that_is_too_new_are_refused() -> None:
    with pytest.raises(OtherVersion, match="there is no way from version 1"):
        migrate(OLD, "x", {}, newest=2)
    with pytest.raises(OtherVersion, match="no way back"):
        migrate("version = 3\n", "x", {1: renamed}, newest=2)


def test_a_migration_that_does_not_give_the_next_version_is_not_believed() -> None:
    with pytest.raises(MigrationFailed, match="nothing was changed"):
        migrate(OLD, "x", {1: lambda text: text}, newest=2)
