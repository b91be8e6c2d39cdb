"""Five notebooks, one for each milestone, and what their cells import.

The notebooks need NumPy, Matplotlib and Jupyter; the last cells of the fifth need PyTorch as well.
"""
