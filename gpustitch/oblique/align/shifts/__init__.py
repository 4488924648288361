"""Correlation of whole overlaps at every shift in reach: in bins, without levels, on a CPU or a device."""
