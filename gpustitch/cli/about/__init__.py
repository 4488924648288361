"""Commands that show what lies at a path, and what the program does."""
