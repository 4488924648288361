"""Stripes along the rows of frames, and what is done to each frame."""
