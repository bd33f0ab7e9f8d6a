"""Commands that work on the data folder itself: first start, running, and the recovery drill."""

import gc
import json
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path
from threading import Event as Flag

from control_plane import first_start, logs
from control_plane.db import place
from control_plane.enrolment.root_key import KeyOnToken
from control_plane.first_start import HandedOver
from control_plane.service_manager import service_manager
from control_plane.settings import (
    Folders,
    SettingRefused,
    Settings,
    Witnessing,
    handed_root_key,
    outside_broker,
    witnessing,
)
from shared.clock import SystemClock

_OWNER_ONLY = 0o077


def folders_of(options: Namespace) -> Folders:
    """Raises DatabaseRefused."""
    return Folders(options.data, place.given(options.database), handed_root_key(os.environ))


def init(options: Namespace) -> int:
    os.umask(_OWNER_ONLY)
    made = _first_start(options, folders_of(options), Settings.people_port)
    if options.json:
        root_key = None if made.root_key is None else str(made.root_key)
        shares = [str(share) for share in made.shares]
        print(json.dumps({"credential": str(made.credential), "shares": shares, "root_key": root_key}))
    else:
        _tell(made)
    return 0


def run(options: Namespace) -> int:
    clock, folders = SystemClock(), folders_of(options)
    logs.configure(clock)
    os.umask(_OWNER_ONLY)
    if options.ready_file is not None:
        # Whoever waits for it must not read where the doors were last time.
        options.ready_file.unlink(missing_ok=True)
    if not first_start.is_begun(folders) and options.handover:
        _tell(_first_start(options, folders, options.people_port or Settings.people_port))
    if not first_start.is_begun(folders):
        raise first_start.NotInitialised(folders.data)
    manager, stop = service_manager(), Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Before the database is opened, which may bring it to a newer schema.
    with folders.sole_use():
        settings = _settings(options, folders)
        from control_plane.app import ControlPlane  # takes longer than to see that it cannot be run

        centre = ControlPlane(settings, clock)
        first_start.remember_host(folders, settings.host)
        centre.start()
        try:
            _announce(options.ready_file, centre.addresses())
            gc.freeze()  # what is there now stays: looking through it again and again takes time from every request
            manager.ready()
            while not stop.wait(manager.interval_s):
                if centre.answers():
                    manager.alive()
        finally:
            manager.stopping()
            centre.stop()
    return 0


def _settings(options: Namespace, folders: Folders) -> Settings:
    host = options.host or first_start.host_of(folders)
    if options.broker_ca is not None and options.broker is None:
        raise SettingRefused("broker_ca", "says who certified the broker of --broker, and there is none")
    return Settings(
        folders=folders,
        host=host,
        host_port=options.host_port,
        enrol_port=options.enrol_port,
        people_port=options.people_port,
        mqtt_port=options.mqtt_port,
        with_broker=not options.no_broker,
        time_authority=options.time_authority,
        outside_broker=outside_broker(options.broker, options.broker_ca) if options.broker is not None else None,
        witnessing=Witnessing() if options.witnesses is None else witnessing(options.witnesses),
    )


def drill(options: Namespace) -> int:
    """Read two shares and the database or a backup, never the root key's file; record what was proved.

    Where a backup was opened, that alone is recorded: whether the centre itself is recoverable was not looked at.
    """
    from control_plane.audit_log.journal import CentreJournal
    from control_plane.backup.folder import chosen
    from control_plane.backup.manifest import TEST_OBJECT
    from control_plane.backup.verifying import keys_of
    from control_plane.db.engine import close_database, open_database
    from control_plane.erasure.private_parts import PrivateParts
    from control_plane.keys import drill as drills
    from control_plane.keys.store import JOURNAL, KeyStore
    from control_plane.people.accounts import Accounts
    from control_plane.people.decide import Permission
    from control_plane.people.permissions import verify_permitted
    from control_plane.policy.authoring import load_credential
    from control_plane.tlog.sequencer import Sequencer
    from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject

    folders, clock = folders_of(options), SystemClock()
    first_start.verify_initialised(folders)
    os.umask(_OWNER_ONLY)
    database = open_database(place.url_of(folders))
    person = Accounts(database, clock).by_token(load_credential(options.credential).token)
    verify_permitted(person, Permission.RECOVERY_DRILL)
    words = [path.read_text(errors="replace") for path in options.share]
    backup = None if options.backup is None else chosen(options.backup)[1]
    if backup is None:
        root, drilled = drills.drill(drills.held_keys(database), drills.test_object_path(folders.data), words)
    else:
        root, drilled = drills.drill(keys_of(backup), backup / TEST_OBJECT, words)
    keys = KeyStore(database, root, clock)
    sequencer = Sequencer(keys.log_signer())
    journal = CentreJournal(database, keys.signer(JOURNAL), sequencer, PrivateParts(keys).sealing, clock)
    what = (Subject("object", str(drilled.object_id)), Subject("key", drilled.key_name))
    who = (Participant("person", person.name, True),)
    journal.record(Happening(Event.RECOVERY_DRILLED, Action.EXECUTE, Outcome.SUCCESS, who, what))
    if backup is None:
        drills.remember(database, clock.now())
    close_database(database)
    if options.json:
        print(json.dumps({"object": str(drilled.object_id), "bytes": drilled.dataset_bytes, "state": "recoverable"}))
    else:
        opened = "the database" if backup is None else f"backup {backup.name}"
        print(f"two shares and {opened} opened test object {drilled.object_id}: {drilled.dataset_bytes} bytes, "
              f"verified. {'The control plane' if backup is None else 'It'} is recoverable.")  # fmt: skip
    return 0


def _first_start(options: Namespace, folders: Folders, people_port: int) -> HandedOver:
    return first_start.first_start(
        folders, options.handover, options.person,
        host=options.host or Settings.host, people_url=f"http://127.0.0.1:{people_port}", clock=SystemClock(),
        root_on=None if options.root_token is None else KeyOnToken(options.root_token, options.root_key_id),
    )  # fmt: skip


def _tell(made: HandedOver) -> None:
    print(f"administrator's credential: {made.credential}")
    print("recovery shares, two of which are needed; give each to another person, off this machine:")
    for share in made.shares:
        print(f"  {share}")
    print("until `leadglass-server keys drill` has opened a test object from two of them, this is not recoverable")
    if made.root_key is not None:
        print(f"key of the certificate authority's root: {made.root_key}")
        print("whoever has it makes hosts and centres that yours believe; keep it on a medium in a safe, twice")
    sys.stdout.flush()


def _announce(ready_file: Path | None, addresses: dict[str, str | int | None]) -> None:
    # The link is a secret for 15 minutes: for the person at a terminal, and not for whatever collects our output.
    link = addresses["sign_in_url"] if sys.stdout.isatty() else "`leadglass-server sign-in` makes a link"
    how = f"sign in once: {link}" if addresses["sign_in_url"] else f"sign in at {addresses['people_url']}/sign-in"
    print(f"people:    {addresses['people_url']}  ({how})")
    print(f"enrolment: {addresses['enrol_url']}")
    print(f"hosts:     {addresses['hosts_url']}", flush=True)
    if ready_file is not None:
        part = ready_file.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(addresses, file)
        part.rename(ready_file)
