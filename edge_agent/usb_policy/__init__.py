"""How the guard comes by its policy: it verifies what it is offered in a child of its own, and keeps what it accepted.

Only `verify_child` and `pinning` load cryptography and TUF; the guard itself imports neither.
"""
