"""Contents of TensorBoard beyond a run's curves."""
