"""`python -m tests.benchmarks` times a part of the project beside its peers, in one run."""

import sys

import cli
from tests.benchmarks.command import main

if __name__ == "__main__":
    sys.exit(cli.reporting_errors(main, sys.argv[1:]))
