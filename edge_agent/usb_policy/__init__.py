"""USB rules on this host: decided from signed policy, enforced by the kernel's authorisation."""
