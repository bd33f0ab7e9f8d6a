from tests.edge_agent.conftest import senders_close_their_sockets

__all__ = ["senders_close_their_sockets"]
