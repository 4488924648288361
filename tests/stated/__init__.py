"""What operations state of a device's memory, against what they take."""
