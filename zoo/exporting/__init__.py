"""Trained models as files that run without this project: a module per format, and what the formats share.

A format's module has `content`, which returns the bytes of the file, and `probabilities`, which runs the file. The
check runs `probabilities`, and the model card shows its source: readers copy code that has run.
"""
