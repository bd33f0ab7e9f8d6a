"""How fast it is, each number beside its peer's, measured in the same run on the same machine."""
