"""The sections of a report on a trained model: each measures something and describes the result."""
