"""Training and evaluation through Lightning: the command line, its checks, the trainer and the loggers."""
