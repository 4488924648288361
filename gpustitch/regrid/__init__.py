"""Evenly spaced planes from uneven ones."""
