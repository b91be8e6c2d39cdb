"""The commands of the documentation work: each is run once, shortened. `.ci/run` runs the two of the README in full."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import cli
from tests import data_files
from tests.benchmarks.command import main as benchmark
from tests.documents import ROOT, code_blocks, documents, without_code_blocks
from zoo.runs import configs

GUIDES = ROOT / ".github" / "guides"
TINY = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--data.batch_size=16"]

# Commands that other files run -> that file.
ELSEWHERE = {
    r"python3 -m venv ": ".ci/run",
    r"(OMP_NUM_THREADS=1 )?python -m pytest -n 2": ".ci/run",
    r"ruff check \. && ruff format --check \. && mypy && lint-imports": ".ci/run",
    r"python -m tests\.mutations -k schedules": "tests/test_faults.py",
    r"python -m tests\.soak": "tests/test_soak.py",
    r"python -m tests\.benchmarks cnn": "tests/benchmarks/test_numpy_cnn.py",
    r"python -m tests\.benchmarks data": "tests/benchmarks/test_data_path.py",
    r"python -m tests\.benchmarks (step|fit)": "tests/benchmarks/test_steps.py",
    r"python -m tests\.benchmarks start": "tests/benchmarks/test_start.py",
    r"python -m tests\.benchmarks record --script airbench94_muon\.py": "tests/benchmarks/test_record.py",
    r"python -m zoo\.catalogue": "tests/catalogue/test_measured_results.py",
    r"python -m zoo\.scratch(\.neuron| --source synthetic)?": "tests/scratch/test_lesson.py",
    r"pip install (--no-deps )?(-e .*|numpy .*)|jupyter lab .*": "tests/scratch/test_notebooks.py",
    r"tensorboard --logdir runs --samples_per_plugin images=200": "tests/test_browser.py",
    r"pip install \.|pytest|fit --model (PatchNet --config synthetic|CNN --data StripesData)": (
        "tests/catalogue/test_plugins.py"
    ),
    r"fit --config improved_cnn --compile true": "tests/training/test_compilation.py",
    r"doctor": "tests/commands/test_doctor.py",
}
# Tests of this file -> the commands that they run. A command belongs to the first pattern that fits.
HERE = {
    "several processes": r"(fit|torchrun|srun) .*--config ddp",
    "other data": r"(fit|data) .*--data [A-Z]",
    "from a run": r"(fit|test|validate) .*--(resume|ckpt|init_from)",
    "fit": r"fit (?!--help)",
    "config --check": r"config --check",
    "data": r"data ",
    "models": r"(fit --help|list|info|config|predict|export)\b",
    "explain": r"explain",
    "evaluate": r"evaluate",
    "compare": r"compare ",
    "speedrun": r"speedrun ",
    "benchmarks": r"python -m tests\.benchmarks",
}


def lines(block: str) -> list[str]:
    """Return the commands of a block, with its loops unrolled."""
    if not re.search(r"^for ", block, flags=re.MULTILINE):
        return [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
    stand_in = "python() { printf 'python'; printf ' %q' \"$@\"; echo; }\n"
    done = subprocess.run(["bash", "-euc", stand_in + block], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def commands_of(text: str) -> list[str]:
    """Return the commands of a document, in blocks and in lines, without `python cli.py`."""
    inline = re.findall(r"`(python (?:cli\.py|-m) [^`]+)`", without_code_blocks(text))
    written = [line for block in code_blocks(text, "bash") for line in lines(block)]
    written += [" ".join(command.split()) for command in inline if not re.search(r"\b[A-Z]{4,}\b", command)]  # MODEL
    plain = (command.replace(".venv/bin/", "") for command in written)
    return [re.sub(r"^(python cli\.py|cifar10-zoo) ", "", command) for command in plain if command]


COMMANDS = list(dict.fromkeys(command for path in documents() for command in commands_of(path.read_text("utf-8"))))


# Commands in lines and tables without `python cli.py`, except those with a placeholder.
SHORT = {
    " ".join(command.split())
    for path in documents()
    for command in re.findall(r"`fit (--config [a-z0-9_][^`A-Z<]*)`", without_code_blocks(path.read_text("utf-8")))
    if "..." not in command
}


def kind(command: str) -> str | None:
    """Return the test that runs a command, None if none does."""
    if any(re.fullmatch(pattern, command) for pattern in ELSEWHERE) or command.startswith("python3 -m venv "):
        return "elsewhere"
    return next((name for name, pattern in HERE.items() if re.match(pattern, command)), None)


def commands(name: str) -> list[str]:
    """Return the commands that a test of this file runs."""
    return [command for command in COMMANDS if kind(command) == name]


def run(command: str, *options: str) -> int:
    return cli.main([*shlex.split(command), *options])


@pytest.fixture
def cnn_run() -> Path:
    """A finished run of CNN, and images to classify."""
    assert run("fit --config cnn --config synthetic --trainer.max_epochs=1", *TINY) == 0
    Path("photos").mkdir()
    for path in (Path("photos/dog.png"), Path("cat.jpg")):
        Image.new("RGB", (80, 60), "orange").save(path)
    (directory,) = Path("runs").glob("*/*")
    return directory


def test_every_command_is_run():
    assert len(COMMANDS) >= 60
    assert [command for command in COMMANDS if kind(command) is None] == [], "add a test of it here"
    assert {kind(command) for command in COMMANDS} == {"elsewhere", *HERE}
    assert [name for name in ELSEWHERE.values() if not (ROOT / name).is_file()] == []


def test_every_exception_is_needed():
    """Every command that another file runs is in the documentation."""
    assert [pattern for pattern in ELSEWHERE if not any(re.match(pattern, command) for command in COMMANDS)] == []


@pytest.mark.parametrize("command", commands("several processes"))
def test_several_processes(command, capsys):
    """As far as one process can tell. tests/training/test_ddp.py starts two, by the command line and by a launcher."""
    assert run(command.split("cli.py ", 1)[-1], "--print_config") == 0
    assert "strategy: ddp" in capsys.readouterr().out


@pytest.mark.parametrize("command", commands("fit"))
def test_fit(command):
    own_model, _ = code_blocks((GUIDES / "plugins.md").read_text("utf-8"), "python")
    own_networks = code_blocks((GUIDES / "any-network.md").read_text("utf-8"), "python")
    Path("my_module.py").write_text("\n\n".join([own_model, *own_networks]))
    tiny = [option for option in TINY if not ("val_size" in command and "val_size" in option)]
    assert run(command, "--data.source=synthetic", *tiny, "--trainer.fast_dev_run=true") == 0


@pytest.mark.parametrize("command", commands("other data"))
def test_other_data(command, monkeypatch):
    """Small files stand in for the published ones and for a user's own."""
    data_files.take(monkeypatch, "FashionMNIST", data_files.write_idx(Path("data/fashion-mnist")))
    data_files.take_cifar100(monkeypatch, data_files.write_cifar100(Path("data/cifar-100-python")))
    data_files.photos("photos")
    data_files.arrays("my.npz")
    options = ["--data.val_size=10", "--data.batch_size=16", "--trainer.fast_dev_run=true"]
    assert run(command, *(options if command.startswith("fit") else [])) == 0


def test_own_data():
    """The data set of the guide is that of the example package."""
    _, own_data = code_blocks((GUIDES / "plugins.md").read_text("utf-8"), "python")
    assert own_data in (ROOT / "tests/plugin/example_data.py").read_text("utf-8")
    Path("my_module.py").write_text(own_data)
    assert run("fit --model CNN --data my_module.StripesData", *TINY, "--trainer.fast_dev_run=true") == 0


@pytest.mark.parametrize("command", sorted(SHORT))
def test_short_command_names_shipped_configs(command):
    assert all(configs.find(name).is_file() for name in re.findall(r"--config (\S+)", command))


def test_from_a_run(cnn_run):
    """Each of the commands goes on from the same run."""
    for epochs, command in enumerate(commands("from a run"), start=2):
        command = re.sub(r"runs/CNN/[\d_-]+", str(cnn_run), re.sub(r"runs/CNN(?= |$)", str(cnn_run.parent), command))
        options = [f"--trainer.max_epochs={epochs}"] if command.startswith("fit") else []
        options += ["--data.source=synthetic", *TINY] if "--init_from" in command else []
        assert run(command, *options) == 0


def test_config_check():
    Path("theirs.yaml").write_text("optimizer: {class_path: their_module.Optimizer}\n")
    assert [run(command) for command in commands("config --check")] == [1]


def test_data(official_layout, monkeypatch):
    """CIFAR-10 is there: nothing is downloaded."""
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    for command in commands("data"):
        assert run(command) == 0


def test_models(cnn_run):
    for command in commands("models"):
        assert run(command) == 0
    for path in ("my_cnn.yaml", "photos.png", "predictions.csv"):
        assert Path(path).is_file()


def test_explain(cnn_run):
    """One run stands for all that the commands name."""
    for command in commands("explain"):
        # The classes of the synthetic images have other names.
        assert run(re.sub(r"runs/[\w-]+", "runs", command).replace("--class cat", "--class star")) == 0
    assert len(list(Path("runs").glob("*/*/explain/*/*.png"))) >= 6


def test_evaluate():
    """One run stands for all that the commands name."""
    assert run("fit --config milestone4/relu_he --config synthetic --trainer.max_epochs=1", *TINY) == 0
    for command in commands("evaluate"):
        assert run(re.sub(r"runs/\w+", "runs", command), "--overwrite") == 0


def test_compare():
    """Two runs stand for all that the commands name."""
    for name in ("grid", "relu_he"):
        fit = f"fit --config milestone4/relu_he --config synthetic --trainer.max_epochs=1 --name {name}"
        assert run(fit, *TINY) == 0
    for command in commands("compare"):
        options = re.sub(r" runs/\w+", "", command).removeprefix("compare")
        assert run(f"compare runs/grid-synthetic runs/relu_he-synthetic {options}") == 0


def test_speedrun():
    tiny = ["--data.source=synthetic", *TINY, "--data.val_size=0", "--trainer.max_epochs=1"]
    for command in commands("speedrun"):
        assert run(command.replace("--seeds 10", "--seeds 2"), *tiny, "--trainer.enable_model_summary=false") == 0
    assert len(json.loads(Path("speedrun94.json").read_text())["runs"]) == 2


def test_benchmarks():
    found = [shlex.split(command)[3:] for command in commands("benchmarks")]
    assert found == [["augment"], []]
    for words in found:
        assert cli.reporting_errors(benchmark, [*words, "--rounds=1", "--images=640"]) == 0


PYTHON = [block for path in documents() for block in code_blocks(path.read_text("utf-8"), "python")]


@pytest.mark.parametrize("block", PYTHON)
def test_python(block):
    shorter = block.replace("2500", "100").replace("val_size=500", "val_size=50, test_size=50")
    few = '"data.train_size": 100, "data.val_size": 50, "data.test_size": 50'
    shorter = shorter.replace('"trainer.max_epochs": 1', f'"trainer.max_epochs": 1, {few}')
    drawn = f'"data.source": "synthetic", "trainer.max_epochs": 1, {few}'
    shorter = shorter.replace('{"name": "grid"', f'{{"name": "grid", {drawn}').replace(
        '["sigmoid", "tanh", "relu"]', '["relu"]'
    )
    exec(compile(shorter, "documentation", "exec"), {})


def test_table_of_files_is_what_a_run_leaves():
    assert run("fit --config mlp --config synthetic --trainer.max_epochs=1", *TINY) == 0
    (directory,) = Path("runs").glob("*/*")
    table = (GUIDES / "runs.md").read_text("utf-8")
    assert [path.name for path in directory.iterdir() if path.name not in table] == []
