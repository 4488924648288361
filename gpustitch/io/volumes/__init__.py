"""Volumes on disk, read box by box."""
