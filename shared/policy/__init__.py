"""What a policy says, how it travels, and which one a host accepts.  docs/formats/policy.md"""
