"""What a model is: `Classifier` and its two kinds, metrics, optimizers, schedules; and what all else builds on."""
