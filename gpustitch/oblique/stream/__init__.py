"""Raw frames of placed tiles to one volume, in one sweep over the frames."""
