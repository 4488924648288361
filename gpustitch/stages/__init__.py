"""One module per command: plan, then run; composes ops and io."""
