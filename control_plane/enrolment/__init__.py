"""Enrolment: the certificate authority, one-time codes, and the exchange that gives a host its identity."""
