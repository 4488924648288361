"""Remove stripes along the rows of frames, subtract the dark offset, divide by the flat field."""

DESTRIPING = "Destriping"  # heading of the options
