"""Volumes on disk that can be asked for boxes."""
