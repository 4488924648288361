"""Readers and writers: files found, images, frames, volumes; each appears whole or not at all."""
