"""Single images: TIFF, PNG, JPEG 2000."""
