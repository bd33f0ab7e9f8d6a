"""The self-test: shows on the host itself that what it is there for works, from the modality's side to the centre's."""
