"""A series judged: class, spacing, warnings, what to do."""
