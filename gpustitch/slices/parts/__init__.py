"""Which slices of a series belong together, and why: by tags, by numbers, by their places."""
