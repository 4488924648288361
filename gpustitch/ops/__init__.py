"""Numerics of no mission: arrays in, arrays out."""
