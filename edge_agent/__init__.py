"""The agent on a modality host: captures, seals, spools, delivers, follows signed policy, keeps the audit journal.

The unprivileged process. It holds no key that opens what it captured.
"""

VERSION = "0.1.0"
SOFTWARE = f"leadglass-agent {VERSION}"
