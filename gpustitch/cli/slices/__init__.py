"""Commands of slice series."""
