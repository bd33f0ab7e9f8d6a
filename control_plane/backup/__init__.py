"""Backups of the centre, and a centre made again from one: never with the root key, always verified."""
