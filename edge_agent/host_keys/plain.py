"""Keys as files: whoever reads the file has the key."""

import re

from edge_agent.host_keys.vault import KeyName
from shared.fleet.keys import KeyProtection

_PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")


class FileVault:
    """What lies on the disk is the key; that others cannot read it is for the file's permissions."""

    protection = KeyProtection.FILE

    def wrap(self, _name: KeyName, private: bytes, /) -> bytes:
        return private

    def unwrap(self, _name: KeyName, wrapped: bytes, /) -> bytes:
        return wrapped

    def split(self, content: bytes, /) -> tuple[bytes, bytes]:
        found = _PRIVATE.search(content)
        start = found.start() if found else 0
        return content[:start], content[start:]


FILES = FileVault()
