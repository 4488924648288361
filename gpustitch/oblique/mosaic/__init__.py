"""Tiles: their folders, their volumes, the alignment file, their places."""
