"""Positions of all tiles from links that may be false and a stage that errs."""
