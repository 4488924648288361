"""Whatever lies at a path, plane by plane."""
