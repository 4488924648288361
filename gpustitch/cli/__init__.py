"""The command line: parse, call a stage, show progress."""
