"""Slices in image files: TIFF, OME, PNG, JPEG, BMP."""
