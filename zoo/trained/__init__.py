"""A trained model: loaded from its checkpoint, and applied to images."""
