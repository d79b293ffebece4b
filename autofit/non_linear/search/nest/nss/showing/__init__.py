"""What a person sees of a run: text, pictures, and when. Never sampling, checkpoints or signals."""
