"""What points of a run tell: posterior, evidences, trust, priors. Never files, pictures, signals or processes."""
