"""The centre's Merkle log: one sequencer, tiles as rows, proofs.  docs/formats/audit-log.md"""
