"""What a host says of itself, and what the vault gives it in hand.  docs/formats/host-state.md"""
