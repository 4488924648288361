"""Readers and writers: camera files, image stacks and volumes."""
