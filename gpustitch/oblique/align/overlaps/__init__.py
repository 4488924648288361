"""Overlaps of two tiles: the places where they may fit, and what windows in them say."""
