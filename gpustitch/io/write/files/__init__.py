"""The files of a volume that is written: those that are begun, whole, noted, and those of an earlier run."""
