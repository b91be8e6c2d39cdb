"""Plots and image grids. Import this package only where something is drawn: matplotlib takes a second to import."""

from zoo.core import installation

installation.forget_unknown_backend()  # before a module of this package imports matplotlib
