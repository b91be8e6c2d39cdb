"""Reads the files of image data sets, without torch."""
