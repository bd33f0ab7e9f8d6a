"""Watches the host for what policy names: peers, programs, encryption of disks, free space, the clock."""
