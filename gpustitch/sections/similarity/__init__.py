"""How alike the sections of a series are, near the diagonal."""
