"""Illumination of the camera: percentiles of its frames, the fitted flat field, its file."""
