"""What protects this host's private keys at rest: permissions of a file, or this machine's TPM.  docs/adr/0022"""
