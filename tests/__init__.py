"""Tests of the project, and what they share: `helpers`, `plugins`, `callbacks`."""
