"""What the centre adds to an image's evidence: digests of its decoded frames, and statements to take away."""
