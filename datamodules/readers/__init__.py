"""Reads files of image data sets with NumPy alone."""
