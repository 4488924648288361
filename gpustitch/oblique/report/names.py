"""Names of what an output of the pipeline holds."""

FLAT, ALIGNMENT, TILES, VOLUME, PROVENANCE = "flat.tiff", "align.json", "tiles", "volume", "provenance.json"
PAGE, RECORD = "report.html", "report.json"
