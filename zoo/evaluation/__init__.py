"""The evaluation of a trained model, and the report on it."""
