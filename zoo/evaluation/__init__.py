"""Evaluation: what is told of a trained model."""
