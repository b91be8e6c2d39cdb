"""How a command ends: with an exit code, and with a line where it is not 0, whatever a model's code does, whichever
streams are closed, and whatever the environment variables of other programs hold."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from datamodules.errors import InputError
from tests import plugins
from tests.benchmarks.command import main as benchmark
from zoo.commands import doctor_checks
from zoo.commands import list as list_command
from zoo.core import installation

QUICK = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
QUICK += ["--data.batch_size=16", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false"]
ROOT = Path(cli.__file__).parent


def one_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "note: " not in line]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("command", [*cli.COMMANDS, "data check"])
def test_main_returns_its_exit_code(command, capsys):
    """For help and for an unknown option, too: it raises no SystemExit."""
    assert cli.main([*command.split(), "--help"]) == 0
    assert "usage" in capsys.readouterr().out
    required = {"info": ["CNN"], "config": ["CNN"], "compare": ["runs"], "predict": ["x.png"], "fit": ["--model=MLP"]}
    required |= {"data": ["check"], "export": ["--format=npz"], "test": ["--model=MLP"], "validate": ["--model=MLP"]}
    assert cli.main([*command.split(), *required.get(command, []), "--no_such_option=1"]) == 2
    one_error(capsys)


def test_main_returns_its_exit_code_for_errors_of_the_parser(capsys):
    assert cli.main(["fit", "--model=MLP", "--trainer.max_epochz=1"]) == 2
    assert "Did you mean 'trainer.max_epochs'?" in one_error(capsys)
    assert cli.main(["fit", "--model=MLP", "--print_config"]) == 0
    assert cli.reporting_errors(benchmark, ["--rounds=x"]) == 2
    assert "'x'" in one_error(capsys)


PLACES = {
    "import": ("class TinyNet", "sys.exit(0)\n\nclass TinyNet"),
    "init": ("        super().__init__", "        sys.exit(0)\n        super().__init__"),
    "forward": ("    def __init__", "    def forward(self, images):\n        sys.exit(0)\n\n    def __init__"),
    "training": (
        "    def __init__",
        "    def training_step(self, *arguments):\n        sys.exit(0)\n\n    def __init__",
    ),
}


def leaves_at(place: str) -> str:
    """The code of a model that calls `sys.exit(0)`."""
    return "import sys" + plugins.TINY.replace(*PLACES[place], 1)


@pytest.mark.parametrize("place", PLACES)
def test_a_model_that_exits_fails_the_training(place, tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path / "site", code=leaves_at(place))
    assert cli.main(["fit", "--model=TinyNet", *QUICK]) != 0
    error = one_error(capsys)
    assert "SystemExit: 0" in error or "sys.exit(0) in" in error
    assert "TinyNet" in error or "tiny_zoo.py, line" in error
    assert place == "training" or not Path("runs").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The checkpoint of a model that was sound when it was trained."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plugins.install(patch, folder / "site")
        assert cli.main(["fit", "--model=TinyNet", *QUICK]) == 0
    (path,) = folder.glob("runs/*/*/checkpoints/best.ckpt")
    return path


@pytest.mark.parametrize("place", ["import", "init", "forward"])
@pytest.mark.parametrize(
    "command", ["predict --test_set", "evaluate --out=o", "explain --out=o", "export --format=npz"]
)
def test_a_model_that_exits_fails_every_command(command, place, trained, tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path / "site", code=leaves_at(place))
    assert cli.main([*command.split(), f"--ckpt={trained}"]) != 0
    one_error(capsys)
    assert not Path("o").exists()


def test_info_tells_the_rest_of_a_model_that_exits(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path / "site", code=leaves_at("init"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cli.main(["info", "TinyNet"]) == 0
    out = capsys.readouterr().out
    assert "A convolution and a dense layer." in out
    assert "SystemExit: 0" in out


def test_a_keyboard_interrupt_of_a_models_code_is_not_the_users(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path / "site", code="raise KeyboardInterrupt")
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main(["info", "TinyNet"]) == 2
    error = one_error(capsys)
    assert "model 'TinyNet' of the package 'tiny-zoo' cannot be loaded: KeyboardInterrupt" in error
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_while_a_model_is_imported_is_the_users(tmp_path, monkeypatch, capsys):
    code = "import signal\nsignal.raise_signal(signal.SIGINT)"
    plugins.install(monkeypatch, tmp_path / "site", code=code)
    assert cli.main(["info", "TinyNet"]) == 130
    assert one_error(capsys) == "error: stopped by SIGINT"


def test_lightnings_exit_after_ctrl_c_is_an_interruption(monkeypatch, capsys):
    def interrupted(argv):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr(list_command, "main", interrupted)
    assert cli.main(["list"]) == 130
    assert one_error(capsys) == "error: interrupted"


@pytest.mark.parametrize(
    ("closed", "code", "error"),
    [
        (">&-", 2, "error: the standard output is closed: redirect it to a file, or to /dev/null\n"),
        ("<&-", 0, ""),
        ("2>&-", 0, ""),
        ("1</dev/null", 1, "error: the output cannot be written: Bad file descriptor\n"),
    ],
)
def test_closed_streams(closed, code, error):
    command = f"exec '{sys.executable}' '{cli.__file__}' list {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, error)
    assert ("ImprovedCNN" in done.stdout) == (code == 0)


def test_an_error_goes_nowhere_where_stderr_is_closed():
    command = f"exec '{sys.executable}' '{cli.__file__}' lsit 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_no_later_file_takes_the_place_of_a_closed_stream():
    code = "import sys, cli; cli.main(['list']); print(open('new').fileno() > 2, file=sys.stderr)"
    Path("new").touch()
    command = f"exec '{sys.executable}' -c \"{code}\" >&- <&-"
    done = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr.endswith("True\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "abc"),
        ("WORLD_SIZE", "0"),
        ("RANK", "-1"),
        ("LOCAL_RANK", ""),
        ("NODE_RANK", "1e3"),
        ("SLURM_NTASKS", "two"),
    ],
)
def test_a_variable_that_is_no_number_of_a_process(name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    assert cli.main(["fit", "--model=MLP", *QUICK]) == 2
    error = one_error(capsys)
    assert f"the environment variable {name} is '{value}', expected an integer from" in error
    assert error.endswith("unset it")
    assert not Path("runs").exists()
    found = next(doctor_checks.imports())
    assert (found.level, found.fix) == ("problem", f"unset {name}")


def test_a_wrong_port_is_in_the_way_of_several_processes_only(monkeypatch, capsys):
    for port in ("abc", "65536"):
        monkeypatch.setenv("MASTER_PORT", port)
        with pytest.raises(InputError, match=f"MASTER_PORT is '{port}', expected a port from 0 to 65535: unset it"):
            installation.check_port()
    monkeypatch.setenv("MASTER_PORT", "tcp://10.0.0.1:80")
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    assert cli.main(["fit", "--model=MLP", *QUICK, *two]) == 2
    assert "MASTER_PORT is 'tcp://10.0.0.1:80'" in one_error(capsys)
    assert not Path("runs").exists()
    assert cli.main(["fit", "--model=MLP", *QUICK, "--trainer.fast_dev_run=true"]) == 0


def test_an_unknown_backend_of_matplotlib_is_ignored(tmp_path):
    """In a process of its own: in this one, matplotlib is imported already."""
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    command = [sys.executable, cli.__file__, "data", "show", "--source=synthetic"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "drawn: samples.png\n")
    assert done.stderr == "note: MPLBACKEND=nonsense is unknown to matplotlib, and is ignored\n"


def test_the_backend_is_looked_at_before_torch_is_imported(monkeypatch):
    """With torch comes torchmetrics, which imports matplotlib."""
    order = []
    monkeypatch.setattr(installation, "forget_unknown_backend", lambda: order.append("backend"))
    monkeypatch.setattr(installation, "torch_misfit", lambda: order.append("torch"))
    installation.check_torch()
    assert order == ["backend", "torch"]


def test_garbage_is_collected_again_once_torch_is_imported(monkeypatch):
    """Not before, and also where the import fails; the first import is the only one without."""
    with installation.quick_imports():
        assert gc.isenabled(), "torch is imported already"
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(ImportError), installation.quick_imports():
        raise ImportError
    assert gc.isenabled()
    with installation.quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.parametrize(("action", "code"), [("return 3", 3), ("raise LookupError('unexpected')", 1)])
def test_a_process_ends_after_all_that_was_to_come(action, code):
    """Threads, and what libraries have registered for the end; a pipe gets all of the output."""
    program = f"""
import atexit, cli, sys, threading, time
def main():
    atexit.register(print, "registered")
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    print("x" * 100_000)
    {action}
cli.main = main
cli.run()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout.split() == ["x" * 100_000, "thread", "registered"]
    assert ("LookupError: unexpected" in done.stderr) == (code == 1)
