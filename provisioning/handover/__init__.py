"""The hand-over: what a visit found, on one page, signed by the host that it is about."""
