"""What a correction did to frames, measured without truth."""
