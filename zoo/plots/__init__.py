"""Plots and image grids. Matplotlib is imported only where something is drawn."""

from zoo.core import installation

installation.forget_unknown_backend()  # before a module of this package imports matplotlib
