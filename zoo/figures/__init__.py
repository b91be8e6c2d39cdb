"""Figures: drawn with matplotlib, which is imported only where something is drawn."""

from zoo import installation

installation.forget_unknown_backend()  # before a module of this package imports matplotlib
