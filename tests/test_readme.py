"""What the README says works: its commands are run, shortened; `.ci/run` runs the two that install, as they stand."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import cli
from tests.benchmarks.command import main as benchmark
from zoo.runs.command_line import CommandLine

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, flags=re.DOTALL)


def lines(block: str) -> list[str]:
    """The commands of a block, with its loops gone through."""
    if not re.search(r"^for ", block, flags=re.MULTILINE):
        return [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
    stand_in = "python() { printf 'python'; printf ' %q' \"$@\"; echo; }\n"
    done = subprocess.run(["bash", "-euc", stand_in + block], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in lines(block)]
CLI_COMMANDS = [line for line in COMMANDS if re.match(r"(\.venv/bin/)?python cli\.py ", line)]
TINY = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--data.batch_size=16"]


def test_the_commands_are_found():
    assert len(CLI_COMMANDS) >= 10
    called = {line.split("cli.py ", 1)[1].split()[0] for line in CLI_COMMANDS}
    known = {
        "fit",
        "test",
        "list",
        "info",
        "config",
        "predict",
        "explain",
        "evaluate",
        "export",
        "data",
        "compare",
        "speedrun",
        "doctor",
    }
    assert called == known, "an unknown command: test it here"
    others = [line for line in COMMANDS if line not in CLI_COMMANDS]
    lesson = [line for line in others if line.startswith("python -m zoo.scratch")]
    assert len(lesson) == 2, "tests/scratch/test_lesson.py runs them"
    benchmarks = [line for line in others if line.startswith("python -m tests.benchmarks")]
    others = [line.split()[0] for line in others if line not in (*lesson, *benchmarks)]
    assert others == ["python3", "python3", "torchrun", "srun"], "test it here"


@pytest.mark.parametrize("command", [line for line in COMMANDS if "--config ddp" in line])
def test_several_processes(command):
    """As far as can be told in one: tests/training/test_ddp.py runs two, from the command line and from a launcher."""
    assert CommandLine(shlex.split(command.split("cli.py ", 1)[1])).config["trainer"]["strategy"] == "ddp"


FITS = [
    line for line in CLI_COMMANDS if " fit " in line and not re.search("--(help|resume|ckpt|config ddp|compile)", line)
]


def test_compiled():
    commands = [line for line in COMMANDS if "--compile" in line]
    assert commands == ["python cli.py fit --config improved_cnn --compile true"], (
        "tests/training/test_compilation.py runs it"
    )


@pytest.mark.parametrize("command", FITS)
def test_fit(command):
    arguments = shlex.split(command.split("cli.py ", 1)[1])
    shorter = ["--data.source=synthetic", *TINY, "--trainer.fast_dev_run=true"]
    if "val_size" in command:
        shorter.remove("--data.val_size=32")
    assert cli.main([*arguments, *shorter]) == 0


def test_from_a_checkpoint():
    """Each of the commands goes on from the same run."""
    assert cli.main(["fit", "--config", "cnn", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]) == 0
    (run,) = Path("runs").glob("*/*")
    commands = [line for line in CLI_COMMANDS if re.search("(fit|test) --(resume|ckpt)", line)]
    assert len(commands) == 6
    for epochs, command in enumerate(commands, start=2):
        command = re.sub(r"runs/CNN$", str(run.parent), re.sub(r"runs/CNN/[\d_-]+", str(run), command))
        arguments = shlex.split(command.split("cli.py ", 1)[1])
        if arguments[0] == "fit":
            arguments.append(f"--trainer.max_epochs={epochs}")
        assert cli.main(arguments) == 0


def test_the_check_of_a_config():
    (command,) = [line for line in CLI_COMMANDS if "--check" in line]
    Path("theirs.yaml").write_text("optimizer: {class_path: their_module.Optimizer}\n")
    assert cli.main(shlex.split(command.split("cli.py ", 1)[1])) == 1


def test_data_commands(official_layout, monkeypatch):
    """Where there are data: nothing is downloaded."""
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    commands = [line for line in CLI_COMMANDS if " data " in line]
    assert [line.split()[3] for line in commands] == ["prepare", "check", "show"]
    for command in commands:
        assert cli.main(shlex.split(command.split("cli.py ", 1)[1])) == 0


def test_models_and_what_to_do_with_them():
    """After a run whose checkpoint they take."""
    fit = ["fit", "--config", "milestone4/relu_he", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]
    assert cli.main(fit) == 0
    Path("photos").mkdir()
    for path in (Path("photos/dog.png"), Path("cat.jpg")):
        Image.new("RGB", (80, 60), "orange").save(path)
    commands = [
        line
        for line in CLI_COMMANDS
        if re.search(r"cli\.py (list|info|config(?! --check)|predict|export) ", f"{line} ")
    ]
    assert len(commands) == 7
    for command in commands:
        assert cli.main(shlex.split(command.split("cli.py ", 1)[1])) == 0
    for left in ("my_cnn.yaml", "photos.png", "predictions.csv"):
        assert Path(left).is_file()
    assert "python cli.py doctor" in CLI_COMMANDS, "tests/commands/test_doctor.py runs it"


def test_explain():
    """A CNN's run stands for all that they name."""
    assert cli.main(["fit", "--config", "cnn", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]) == 0
    Path("photos").mkdir()
    Image.new("RGB", (80, 60), "orange").save("photos/dog.png")
    commands = [line for line in CLI_COMMANDS if re.search(r"cli\.py explain( |$)", line)]
    assert len(commands) == 6
    for command in commands:
        # The classes of the drawn figures have other names.
        words = shlex.split(re.sub(r"runs/[\w-]+", "runs", command).replace("--class cat", "--class star"))
        assert cli.main(words[2:]) == 0
    assert len(list(Path("runs").glob("*/*/explain/*/*.png"))) >= 6


def test_evaluate():
    """A run stands for all that they name."""
    fit = ["fit", "--config", "milestone4/relu_he", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]
    assert cli.main(fit) == 0
    commands = [line for line in CLI_COMMANDS if " evaluate " in line]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(re.sub(r"runs/\w+", "runs", command).split("cli.py ", 1)[1])
        assert cli.main([*words, "--overwrite"]) == 0


def test_compare_and_benchmark():
    """After two runs that stand for those of the README."""
    for name in ("grid", "relu_he"):
        fit = ["fit", "--config", "milestone4/relu_he", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]
        assert cli.main([*fit, "--name", name]) == 0
    for command in [line for line in CLI_COMMANDS if " compare " in line]:
        words = shlex.split(command.split("cli.py ", 1)[1])
        words = [word for word in words if not word.startswith("runs/")]
        assert cli.main([words[0], "runs/grid-synthetic", "runs/relu_he-synthetic", *words[1:]]) == 0
    commands = {line for line in COMMANDS if "tests.benchmarks" in line}
    of_other_tests = {f"python -m tests.benchmarks {name}" for name in ("data", "step", "fit", "start")}
    of_other_tests.add("python -m tests.benchmarks record --script airbench94_muon.py")
    assert commands == {"python -m tests.benchmarks"} | of_other_tests, "tests/benchmarks/test_*.py run them"
    assert cli.reporting_errors(benchmark, ["--rounds=1", "--images=640"]) == 0


def test_speedrun():
    (command,) = [line for line in CLI_COMMANDS if " speedrun " in line]
    words = shlex.split(command.split("cli.py ", 1)[1].replace("--seeds 10", "--seeds 2"))
    drawn = ["--data.source=synthetic", *TINY, "--data.val_size=0", "--trainer.max_epochs=1"]
    assert cli.main([*words, *drawn, "--trainer.enable_model_summary=false"]) == 0
    assert len(json.loads(Path("speedrun94.json").read_text())["runs"]) == 2


def test_python_blocks_run(monkeypatch):
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        exec(
            compile(
                block.replace("2500", "100").replace("val_size=500", "val_size=50, test_size=50"), "README", "exec"
            ),
            {},
        )


def test_pictures_are_there():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 300_000


def test_table_of_files_is_what_a_run_leaves():
    assert cli.main(["fit", "--config", "mlp", "--config", "synthetic", *TINY, "--trainer.max_epochs=1"]) == 0
    (run,) = Path("runs").glob("*/*")
    for path in run.iterdir():
        assert path.name in TEXT
