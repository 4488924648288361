"""The report of a stitched channel: checks computed from what was written, and a page that shows them."""
