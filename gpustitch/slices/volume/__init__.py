"""An even volume of a series."""
