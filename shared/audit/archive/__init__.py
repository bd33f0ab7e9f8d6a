"""One incident as one file: records, proofs, certificates, and what was asked.  docs/formats/audit-archive.md"""
