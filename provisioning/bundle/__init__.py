"""The offline bundle: one signed file with everything that an engineer carries, verified before anything of it runs."""
