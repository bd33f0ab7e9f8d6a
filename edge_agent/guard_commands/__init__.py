"""What a person asks the guard, and the text they read."""
