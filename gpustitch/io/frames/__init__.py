"""Stacks of camera frames: DCIMG, TIFF, JPEG 2000."""
