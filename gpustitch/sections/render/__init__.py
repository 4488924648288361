"""Evenly spaced planes of sections and their positions."""
