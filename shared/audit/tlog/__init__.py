"""A transparency log by the public specifications: RFC 6962 trees, C2SP notes, checkpoints, tiles and proofs.

docs/formats/audit-log.md
"""
