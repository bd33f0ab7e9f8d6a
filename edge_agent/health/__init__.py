"""What this host says of itself.  docs/formats/host-state.md"""
