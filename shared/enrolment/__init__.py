"""How a host gets its identity: the code and the one exchange.  docs/formats/enrolment.md"""
