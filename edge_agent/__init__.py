"""The agent on a modality host: captures, seals, spools, delivers, follows signed policy, keeps the audit journal.

The unprivileged process. It holds no key that opens what it captured.
"""

SOFTWARE = "leadglass-agent 0.1.0"
