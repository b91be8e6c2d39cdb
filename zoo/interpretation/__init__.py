"""What a trained network looks at, and what it looks for: the layers, their outputs, the gradients at the pixels.

Everything works for PyTorch and NumPy models alike; who asks for a layer names it as `info` does.
"""
