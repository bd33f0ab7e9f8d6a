"""What is attached to this host, as the kernel tells it: events as they come, and what is there when one looks."""
