"""Sections that are not where they were recorded; in each folder ``stage.py`` is the command."""
