"""What a person types: `leadglass-server`. Most commands speak to the people's door of a running control plane."""
