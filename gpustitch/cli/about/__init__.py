"""What the program is and what lies at a path."""
