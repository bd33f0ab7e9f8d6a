"""The policy file that an administrator writes: read strictly, each problem named with its line."""
