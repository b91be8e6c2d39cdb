"""Figures: drawn with matplotlib, which is imported only where something is drawn."""
