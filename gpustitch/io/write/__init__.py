"""Volumes written block by block, asynchronously."""
