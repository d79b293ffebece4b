"""The folder of a fit: checkpoints, what is refused, locks. Never sampling, pictures or signals."""
