"""The pages that people see. Plain HTML without scripts; what they show comes from the API alone."""
