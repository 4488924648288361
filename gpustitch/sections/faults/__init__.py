"""Damaged, constant, duplicate, missing and swapped sections."""
