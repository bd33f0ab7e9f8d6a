"""USB rules on this host: verified in a child, kept, decided by, and enforced with the kernel's authorisation.

Only `verify_child` and `pinning` load cryptography and TUF; the guard itself imports neither.
"""
