"""What a run shows in TensorBoard beside its curves."""
