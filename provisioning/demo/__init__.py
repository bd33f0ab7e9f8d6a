"""The whole system on one machine: real processes, real images, and the attacks on what they leave behind."""
