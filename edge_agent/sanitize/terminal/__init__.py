"""The screens of `leadglass-wipe`: what each says is decided apart from how a terminal shows it."""
