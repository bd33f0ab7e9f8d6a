"""Commands that copy a centre, prove a copy, and make a centre again from one. They work on the machine itself."""

import getpass
import json
import os
import sys
from argparse import Namespace
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from control_plane import first_start
from control_plane.audit_log.journal import CentreJournal
from control_plane.backup import register
from control_plane.backup.folder import BackupFolder, chosen
from control_plane.backup.making import BackupMaker, Centre, Made
from control_plane.backup.restored import RestoreSettling
from control_plane.backup.restoring import Done
from control_plane.backup.restoring import restore as make_again
from control_plane.backup.verifying import prove
from control_plane.cli.accounts import token_in
from control_plane.cli.running import folders_of
from control_plane.db.engine import close_database, open_database
from control_plane.db.place import url_of
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.erasure.private_parts import PrivateParts
from control_plane.keys import drill, shares, store
from control_plane.keys.root import RootKey, load_root_key
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts
from control_plane.people.decide import Permission
from control_plane.people.permissions import verify_permitted
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.local import VaultBodies
from control_plane.vault.losses import Losses
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import SystemClock
from shared.errors import Refused

_OWNER_ONLY = 0o077
_MOST_NAMED = 10


class BackupInside(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is inside the data folder, or that is inside it; a backup lies elsewhere")
        self.folder = folder


class _Here:
    """The centre whose data folder is on this machine, and who asks it for something."""

    def __init__(self, options: Namespace, permission: Permission) -> None:
        os.umask(_OWNER_ONLY)
        self.folders, self.clock = folders_of(options), SystemClock()
        first_start.verify_initialised(self.folders)
        self.database = open_database(url_of(self.folders))
        person = Accounts(self.database, self.clock).by_token(_token(options))
        verify_permitted(person, permission)
        self.person, self.root = person.name, load_root_key(self.folders.root_key_now)
        keys = KeyStore(self.database, self.root, self.clock)
        self.signer = keys.signer(store.JOURNAL)
        self.private = PrivateParts(keys)
        self.journal = CentreJournal(
            self.database, self.signer, Sequencer(keys.log_signer()), self.private.sealing, self.clock
        )
        self.losses = Losses(self.database, self.journal, self.clock)

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_: object) -> None:
        close_database(self.database)


def _token(options: Namespace) -> str:
    """Raises Malformed, CredentialMissing, CredentialExposed, OSError."""
    if options.credential is None:
        return token_in(options.token_file)
    return load_credential(options.credential).token


def backup(options: Namespace) -> int:
    folder: Path = options.folder
    data, target = options.data.resolve(), folder.resolve()
    if data == target or data in target.parents or target in data.parents:
        raise BackupInside(folder)
    keep = timedelta(days=options.keep_days) if options.keep_days is not None else None
    with _Here(options, Permission.BACKUP_MAKE) as here:
        centre = Centre(
            here.database, VaultBodies(here.folders.objects), drill.test_object_path(here.folders.data), here.root,
            here.signer, here.journal, here.private, here.clock, here.losses,
        )  # fmt: skip
        made = BackupMaker(centre).make(BackupFolder(folder), here.person, keep=keep)
    if options.json:
        print(json.dumps({**_shown(made), "damaged": [str(one) for one in made.damaged]}))
    else:
        _tell(made)
    return 1 if made.damaged else 0


def _shown(made: Made) -> dict[str, object]:
    manifest = made.manifest
    return {
        "label": manifest.label,
        "folder": str(made.folder),
        "audit_seq": manifest.audit_seq,
        "keys": len(manifest.keys),
        "objects": manifest.objects,
        "body_bytes": manifest.body_bytes,
        "copied": made.copied,
        "copied_bytes": made.copied_bytes,
        "regained": made.regained,
    }


def _tell(made: Made) -> None:
    manifest = made.manifest
    print(f"backup {manifest.label}: read back, every byte as written; it is in {made.folder}")
    print(f"  objects  {manifest.objects}, {manifest.body_bytes} bytes; {made.copied} of them were not there before")
    print(f"  keys     {len(manifest.keys)}, under the root key, which is not in it: two recovery shares open it")
    print(f"  log      up to record {manifest.audit_seq} of the control plane")
    if made.regained:
        print(f"  losses   {made.regained} ended: what the vault had lost is there again, whole")
    for one in made.damaged[:_MOST_NAMED]:
        print(f"  DAMAGED  object {one}: its body in the vault is not what its host signed; no copy was made")
    if len(made.damaged) > _MOST_NAMED:
        print(f"  DAMAGED  and {len(made.damaged) - _MOST_NAMED} more")


def verify(options: Namespace) -> int:
    folder, path = chosen(options.folder, options.label)
    proved = prove(folder, path, _root_of(options))
    said = "signature of this control plane" if proved.is_signature_proved else "signature NOT EVALUATED: no root key"
    if options.json:
        print(json.dumps({
            "label": proved.manifest.label, "rows": proved.rows, "objects": proved.manifest.objects,
            "audit_seq": proved.manifest.audit_seq, "signature_proved": proved.is_signature_proved,
            "damaged": list(proved.damaged),
        }))  # fmt: skip
    else:
        print(f"backup {proved.manifest.label}: {proved.rows} rows, {proved.manifest.objects} objects, "
              f"up to record {proved.manifest.audit_seq}; {said}")  # fmt: skip
        for one in proved.damaged[:_MOST_NAMED]:
            print(f"  DAMAGED  {one}")
        if len(proved.damaged) > _MOST_NAMED:
            print(f"  DAMAGED  and {len(proved.damaged) - _MOST_NAMED} more")
    return 1 if proved.damaged else 0


def show(options: Namespace) -> int:
    with _Here(options, Permission.BACKUP_READ) as here, snapshot(here.database) as session:
        copies = list(register.copies(session))
    if options.json:
        print(json.dumps([copy.json() for copy in copies]))
        return 0
    if not copies:
        print("no copy is known here")
    for copy in copies:
        until = f"until {copy.keep_until:%Y-%m-%d}" if copy.keep_until else "no end given"
        state = "" if copy.is_finished else "  INCOMPLETE: it was interrupted, and may hold keys all the same"
        print(f"{copy.label}  {copy.place}  {copy.objects} objects, record {copy.audit_seq}, {until}{state}")
        for held in copy.holds:
            print(f"  still holds {held}, which was destroyed here")
    return 1 if any(copy.holds for copy in copies) else 0


def forget(options: Namespace) -> int:
    with _Here(options, Permission.BACKUP_FORGET) as here:
        who, what = (Participant("person", here.person, True),), (Subject("backup", options.label),)
        forgotten = Happening(Event.BACKUP_FORGOTTEN, Action.DELETE, Outcome.SUCCESS, who, what)

        def note(session: Session) -> None:
            register.forget(session, options.label, here.person, here.clock.now())
            here.journal.append(session, forgotten)

        in_one_commit(here.database, note)
    print(f"copy {options.label} is noted as gone, by your word")
    return 0


def restore(options: Namespace) -> int:
    os.umask(_OWNER_ONLY)
    folders: Folders = folders_of(options)
    backup = chosen(options.folder, options.label)  # before anybody types shares for nothing
    root = _root_of(options) or _typed()
    done = make_again(*backup, folders, root, SystemClock(), without_damaged=options.without_damaged)
    if options.json:
        print(json.dumps({
            "label": done.manifest.label, "objects": done.manifest.objects, "audit_seq": done.manifest.audit_seq,
            "damaged": list(done.damaged), "policy_error": done.policy_error,
        }))  # fmt: skip
    else:
        _tell_restored(done, options.data)
    return 1 if done.damaged or done.policy_error else 0


def _tell_restored(done: Done, data: Path) -> None:
    manifest = done.manifest
    print(
        f"restored from backup {manifest.label}, as the control plane stood at {manifest.begun:%Y-%m-%d %H:%M:%S} UTC"
    )
    print(f"  objects  {manifest.objects}, {manifest.body_bytes} bytes")
    print(f"  log      verified up to record {manifest.audit_seq} of the control plane")
    for one in done.damaged[:_MOST_NAMED]:
        print(f"  DAMAGED  {one}")
    if done.policy_error:
        print(f"  policy   hosts keep what they have: {done.policy_error}")
    print("Newer than this, and not here:")
    print("  what hosts delivered since: they send their journals again, and `status` names each image that is lost")
    print("  hosts enrolled since: each says so itself, and `status` names it until `leadglass-server host take-back`")
    print("  hosts revoked, people added or removed, policy published: look through the days since")
    print("  open enrolment codes and sign-ins were ended; `status` says so until `leadglass-server settle-restore`")
    print("  whom you revoked since: no certificate is issued until `leadglass-server log accept-loss`")
    print(f"Next: leadglass-server run --data {data}", flush=True)


def settle_restore(options: Namespace) -> int:
    with _Here(options, Permission.RESTORE_SETTLE) as here:
        RestoreSettling(here.database, here.journal).settle(here.person, options.reason)
    print("settled; what was lost stays in the audit log")
    return 0


def _root_of(options: Namespace) -> RootKey | None:
    """Return the root key from what was named, None where nothing was. Raises SharesRefused, RootKeyMissing."""
    if options.share:
        return shares.combine([path.read_text(errors="replace") for path in options.share])
    if options.root_key is not None:
        return load_root_key(options.root_key)
    return None


def _typed() -> RootKey:
    """Ask for the shares at a terminal, unseen. Raises SharesRefused."""
    ask = getpass.getpass if sys.stdin.isatty() else lambda _: sys.stdin.readline()
    return shares.combine([ask(f"recovery share {number} of {shares.THRESHOLD}: ") for number in (1, 2)])
