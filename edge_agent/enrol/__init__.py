"""How this host gets its identity from one code.  docs/formats/enrolment.md"""
