"""What drives do themselves, asked of them by the tools that a Linux host has for it, one module a protocol."""
