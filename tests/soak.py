"""Kills training at random moments and resumes it, until it ends with the weights of a run that nothing cut short.

    python -m tests.soak --kills 30

It trains in a temporary folder, on drawn images, with dropout and augmentation on, and saves within epochs too. Half of
the kills come at a random moment, start-up and evaluation included; the others wait for a checkpoint to be written.
Exits with 1 where anything differs.
"""

import argparse
import contextlib
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests import forked
from tests.helpers import rows, scalars, weights
from zoo.runs import checkpoints

FIT = ["fit", "--data.source=synthetic", "--data.val_size=40", "--data.test_size=40", "--data.crop_padding=2"]
FIT += ["--data.horizontal_flip=true", "--lr_schedule=Cosine", "--trainer.log_every_n_steps=1"]
FIT += ["--trainer.enable_model_summary=false", "--save_every_n_steps=3", "--trainer.max_epochs=3"]
RUNS = {
    "ImprovedCNN": ["--model=ImprovedCNN", "--data.train_size=42", "--data.batch_size=8"],
    "CNN": ["--model=CNN", "--data.train_size=300", "--data.batch_size=16", "--optimizer=SGD", "--optimizer.lr=0.02"],
}


def start(*command: str) -> forked.Process:
    """Start a command in a process of its own; its errors go to the file "log"."""
    with open(os.devnull, "wb") as null, open("log", "ab") as log:
        return forked.Process(command, os.environ, out=null.fileno(), err=log.fileno())


def finish(*command: str) -> float:
    """Run a command to its end, and return the seconds it took."""
    started = time.perf_counter()
    code = start(*command).wait()
    if code != 0:
        sys.exit(f"{' '.join(command)} ended with code {code}: {Path('log').read_text()}")
    return time.perf_counter() - started


def kill(process: forked.Process, run_dir: Path, seconds: float, at_write: bool) -> bool | None:
    """Kill `process`: after `seconds`, or when it writes a checkpoint; return whether it was writing one.

    None where it had ended by then.
    """
    started, until = time.time(), time.perf_counter() + seconds
    while True:
        writing = _is_writing(run_dir, started)
        if process.poll() is not None:
            return None
        if (at_write and writing) or (not at_write and time.perf_counter() >= until):
            process.kill()
            process.wait()
            return _is_writing(run_dir, started)
        time.sleep(0 if at_write else 0.001)


def _is_writing(run_dir: Path, since: float) -> bool:
    """Whether half a checkpoint lies there, not one that an earlier process left."""
    with contextlib.suppress(FileNotFoundError):  # finished, since it was listed
        return any(part.stat().st_mtime >= since for part in run_dir.glob("*/*/checkpoints/*.part"))
    return False


def state(run: Path) -> tuple[dict, list, dict]:
    """What a run has come to: its last weights, the rows of its CSV without the seconds, its curves."""
    return weights(run), rows(run), scalars(run)


def differences(run: Path, reference: Path) -> list[str]:
    """What of a run is not as in the reference."""
    (ends, epochs, curves), (expected, expected_epochs, expected_curves) = state(run), state(reference)
    found = [f"weights {name}" for name in expected if not torch.equal(ends[name], expected[name])]
    if epochs != expected_epochs:
        found.append(f"epochs {[row['epoch'] for row in epochs]}")
    return found + [f"curve {tag}" for tag in expected_curves if curves.get(tag) != expected_curves[tag]]


def soak(kills: int, per_run: int, seed: int) -> int:
    """Kill `kills` times, up to `per_run` times a run; return how many runs came out otherwise than the reference."""
    rng = random.Random(seed)
    references: dict[str, tuple[Path, float]] = {}
    done = writes = failed = runs = 0
    while done < kills:
        name = list(RUNS)[runs % len(RUNS)]
        if name not in references:
            seconds = finish(*FIT, *RUNS[name], f"--runs_dir=whole/{name}")
            references[name] = (next(Path(f"whole/{name}").glob("*/*")), seconds)
        runs_dir = Path(f"killed/{runs}")
        runs += 1
        process = start(*FIT, *RUNS[name], f"--runs_dir={runs_dir}")
        for _ in range(min(per_run, kills - done)):
            moment = rng.uniform(0, 1.2 * references[name][1])
            writing = kill(process, runs_dir, moment, at_write=rng.random() < 0.5)
            if writing is None:  # it was quicker
                break
            done, writes = done + 1, writes + writing
            for path in runs_dir.glob("*/*/checkpoints/*.ckpt"):
                checkpoints.read(path)
            resume = ["--resume"] if list(runs_dir.glob("*/*/config.yaml")) else [*FIT[1:], *RUNS[name]]
            process = start("fit", *resume, f"--runs_dir={runs_dir}")
        else:
            process.wait()
        run = max(runs_dir.glob("*/*"), key=lambda path: (path / "metrics.json").is_file())
        found = differences(run, references[name][0])
        if not (run / "metrics.json").is_file():
            found.append("no results")
        failed += bool(found)
        print(f"{done:3} kills, {writes} of them in a write; run {runs} ({name}): {', '.join(found) or 'as uncut'}")
    print(f"{runs - failed} of {runs} runs ended as if nothing had happened, after {done} kills, {writes} in a write")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--per_run", type=int, default=5, help="kills of one run at the most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of each event that a resumed run logs again
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return 1 if soak(options.kills, options.per_run, options.seed) else 0
        finally:
            os.chdir("/")


if __name__ == "__main__":
    sys.exit(main())
