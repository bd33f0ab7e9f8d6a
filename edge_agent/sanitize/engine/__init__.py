"""Overwrites a drive and reads it back, past every cache of this machine.  docs/formats/wipe-stream.md"""
