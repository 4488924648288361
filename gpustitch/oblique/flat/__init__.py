"""Illumination of the camera: its histogram, its fit, its file."""
