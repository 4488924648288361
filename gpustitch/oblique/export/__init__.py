"""Frames to image files, one file for each frame."""
