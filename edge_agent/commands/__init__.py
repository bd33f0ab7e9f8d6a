"""Commands of people to this host: judged here alone, done once, and answered with what proves it."""
