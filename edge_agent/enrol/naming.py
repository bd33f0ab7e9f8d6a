"""What people call this host, as the centre says it with a certificate."""

import dataclasses

from edge_agent.config import AgentFolder, load_config
from edge_agent.enrol.store import replace


def take_name(folder: AgentFolder, asset: str) -> None:
    """Keep what people call this host now. Raises IdentityUnreadable, IdentityNotStored."""
    config = load_config(folder)
    if config.asset != asset:
        replace(folder.config, dataclasses.replace(config, asset=asset).encode())
