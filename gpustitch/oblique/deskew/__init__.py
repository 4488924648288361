"""Frames to the upright grid."""
