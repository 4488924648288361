"""A simulated series of sections with faults."""
