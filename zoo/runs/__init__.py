"""What a run leaves behind, and how it is found again: its directory, config, checkpoints and results."""
