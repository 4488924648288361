"""Positions of slices explained: one spacing, holes, stretches."""
