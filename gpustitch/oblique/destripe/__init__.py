"""Stripes along the rows of frames, and what is done to each frame."""

DESTRIPING = "Destriping"  # heading of the options
