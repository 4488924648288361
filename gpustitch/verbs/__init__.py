"""What ``import gpustitch as gs`` offers: each step as one call on arrays of any library. Axes are z, y, x."""
