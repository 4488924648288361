"""Commands of oblique acquisitions."""
