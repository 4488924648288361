"""Series of slices as scanners write them: how they lie, and an even volume of them."""
