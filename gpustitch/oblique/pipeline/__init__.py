"""The whole way: raw tiles of one channel to one stitched volume."""
