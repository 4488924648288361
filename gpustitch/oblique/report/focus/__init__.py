"""Focus of tiles: how sharply two of them show the same tissue."""
