"""What micro-CT scanners write beside their images."""
