"""Trained models as files that need less than this project: a module for each format, and what they have in common.

A format's module has `content`, which makes the bytes of the file, and `probabilities`, which runs such a file. That
function is what the check runs, and its source is the code in the model card: what a reader copies has run.
"""
