"""Numerics: arrays and geometry in, arrays out. No paths, no logging, no command line."""
