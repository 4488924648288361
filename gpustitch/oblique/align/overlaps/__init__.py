"""Overlaps of two tiles: where they fit as a whole, and what windows in them say."""
