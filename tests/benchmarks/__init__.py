"""Speed, measured side by side with the same mathematics done elsewhere: `python -m tests.benchmarks`."""
