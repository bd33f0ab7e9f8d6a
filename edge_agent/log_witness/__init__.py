"""This host as a witness of the centre's own log.  docs/formats/log-checkpoint.md"""
