"""The three parents of every error of ours, chosen by what whoever catches it should do."""


class Refused(Exception):
    """We will not act on this. Say so, record it, carry on."""


class IntegrityFailure(Exception):
    """Something authentic changed. Stop using it, keep it, open an incident."""


class Unavailable(Exception):
    """A dependency does not answer. Keep the work, try again."""


class Malformed(Refused):
    """Outside bytes that do not have the form their format page gives."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is malformed: {why}")
        self.what, self.why = what, why
