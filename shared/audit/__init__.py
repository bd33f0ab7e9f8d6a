"""The audit record, its chain and its signed batches.  docs/formats/audit-record.md"""
