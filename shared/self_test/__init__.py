"""The self-test of a host: what its phantom is marked by, and what host and centre say to each other of it."""
