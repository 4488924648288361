"""Names of what an output of the pipeline holds."""

FLAT, ALIGNMENT, TILES, VOLUME, PROVENANCE = "flat.tiff", "align.json", "tiles", "volume", "provenance.json"
PAGE, RECORD = "report.html", "report.json"
# An earlier report that measured what a later one could not.
BEFORE = {PAGE: "report.before.html", RECORD: "report.before.json"}
