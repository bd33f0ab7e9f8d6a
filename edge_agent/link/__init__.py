"""The one link between the agent and the guard: a Unix socket, over which a peer asks and never decides."""
