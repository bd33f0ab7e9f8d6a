"""What a policy that nobody has published yet would change, as far as hosts and captures here show it."""
