"""Commands of section series."""
