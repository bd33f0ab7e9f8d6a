"""Rolls policies out in rings: canary hosts first, then more, and back where they fail."""
