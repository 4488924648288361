"""Where tiles lie: compare points, link pairs of tiles, solve all positions at once."""

ALIGNMENT = "Alignment"  # heading of the options
