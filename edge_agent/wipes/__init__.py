"""The unprivileged half of wipes: brings tickets to `leadglass-wipe`, and to the centre what that says."""
