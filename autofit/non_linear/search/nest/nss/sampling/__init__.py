"""Nested slice sampling on devices: pure functions of arrays, in JAX. Never models, paths, files or pictures."""
