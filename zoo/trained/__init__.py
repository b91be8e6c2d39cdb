"""A trained model: out of its checkpoint, applied to images, also to those of a user's own files."""
