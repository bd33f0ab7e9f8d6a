"""The field engineer's tool: what prepares, installs and proves a host or a centre."""

VERSION = "0.1.0"
