"""What lies at a path, and volumes in Neuroglancer."""
