"""What others saw of the centre's own log, and no certificate while it has less.  docs/formats/log-checkpoint.md"""
