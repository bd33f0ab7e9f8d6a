"""What the demo does, one module a chapter. Each takes the stage and judges the expectations that are its own."""
