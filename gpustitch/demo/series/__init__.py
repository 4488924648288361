"""Simulated series: sections with faults, DICOM slices of known geometry."""
