"""The guarded wavelet notch: stripes found on a grid of robust means, and the choice of the notch from frames."""
