"""Volumes from one format to another, block by block."""
