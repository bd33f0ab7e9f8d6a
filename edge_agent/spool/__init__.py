"""What was captured and the vault does not have yet: durable, in order, within its quota.  docs/formats/spool.md"""
