"""What an engineer does about an answer of `leadglass-agent enrol` or `leadglass-guard`, by the words it is said in."""

AGAIN = "then run `leadglass-provision visit` again: it goes on here"
_FIXES = (
    # What holds for the code comes first: it is what must not be wasted.
    ("is not an enrolment code", f"compare it with the original; nothing was sent, the code is still good; {AGAIN}"),
    ("the code was not asked for", f"make room there; the code is still good; {AGAIN}"),
    ("the CA certificate at this address has the fingerprint",
     "stop: what answers there is not the centre of this code; compare the address, then tell the administrator"),
    ("does not take this code",
     f"ask for another code; one never serves twice. If nobody here used it, say so: somebody else may have; {AGAIN}"),
    ("was issued for another asset", f"say --asset as it stands with the code, which is still good; {AGAIN}"),
    ("which was revoked", f"tell the administrator: two of them have to lift that; the code is still good; {AGAIN}"),
    ("too many attempts", f"wait as long as it says; {AGAIN}"),
    ("status 503", f"the centre issues nothing at the moment; the administrator sees why in `status`; {AGAIN}"),
    ("; the code was not sent", f"see what is wrong with that folder; the code is still good; {AGAIN}"),
    ("the identity cannot be written",
     f"see what is wrong with /var/lib/leadglass; the code may be spent, so ask for another; {AGAIN}"),
    ("does not answer as it should",
     f"check cable, address and firewall between here and the centre; the code is still good; {AGAIN}"),
    ("TPM", f"see *Keys in the TPM* of the guide, or say --keys file; the code is still good; {AGAIN}"),
    ("name the console's with --port", f"say which with --console-port PORT (repeatable); {AGAIN}"),
    ("; the administrator named",
     f"stop: what enrolled this host is not your centre; tell the administrator. If it was mistyped, {AGAIN}"),
    ("the guard follows policy root",
     "compare both fingerprints with the administrator's before anything else; the guide says how to replace one"),
    ("is not ours to overwrite",
     f"move those files away, or `leadglass-provision install --replace`, which keeps copies; {AGAIN}"),
    ("nothing is denied before this machine's console is proved", f"do what it names, which is all it needs; {AGAIN}"),
    ("does not resolve", f"put the name into /etc/hosts or mend DNS; {AGAIN}"),
    ("nobody said", f"add it; {AGAIN}"),
    ("install Leadglass first", "install the package or the bundle first"),
    ("which `leadglass-provision install` makes", f"run `leadglass-provision visit --from install`; {AGAIN}"),
    ("run this with sudo", "run the same line with sudo"),
)  # fmt: skip


def fix(said: str) -> str:
    """Return what to do about what a program `said` when it did not do what it was asked."""
    return next((what for words, what in _FIXES if words in said), f"mend what it says; {AGAIN}")
