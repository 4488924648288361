"""Which files and pages make which stacks, in which order, and what is absent: one front for all formats."""
