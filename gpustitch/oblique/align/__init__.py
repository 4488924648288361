"""Where tiles lie: points compared, links, all positions solved at once."""

ALIGNMENT = "Alignment"  # heading of the options
