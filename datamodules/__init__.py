"""Data sets of the project. Free of imports: the NumPy reader is used without torch."""
