"""Where sections lie along z, from their similarities."""
