"""Positions that differ over a section, on a grid of windows."""
