"""Lines of the camera: whether rows and columns are in order, and as long as they were."""
