"""What drives do themselves, by unmodified tools on a real kernel: some do it, some lie, and none is believed by exit codes.

NVMe and SCSI drives of QEMU's, and disks whose firmware is a program in the guest. QEMU's AHCI disk is in
tests/edge_agent/sanitize/firmware/recorded: it cannot be plugged.
"""
