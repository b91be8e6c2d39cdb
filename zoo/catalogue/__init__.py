"""The models by name, and what is known of each without importing it."""
