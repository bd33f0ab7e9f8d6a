"""Wipes a drive of this host by a ticket, and gathers what proves it; run by a person as root, never by the agent."""
