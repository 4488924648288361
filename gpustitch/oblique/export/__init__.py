"""Frames to one image file each."""
