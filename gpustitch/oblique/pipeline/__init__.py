"""The pipeline: raw tiles of one channel to one stitched volume."""
