"""Raw oblique light-sheet tiles to one stitched volume; in each folder ``stage.py`` is the command."""
