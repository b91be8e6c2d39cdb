"""How the processes of a run watch each other, with small programs in the place of the other process."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment

from datamodules.errors import RunError
from zoo.core.signals import Stopped
from zoo.training import processes

BROKEN = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:9"
WAITS = "import time; time.sleep(3600)"


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """Starts a run of two processes, the other one of which is a program."""

    def start(program: str):
        monkeypatch.setattr(processes, "COMMAND", tmp_path / "program.py")
        processes.COMMAND.write_text(program)
        launcher = SimpleNamespace(num_processes=2, num_nodes=1, cluster_environment=LightningEnvironment())
        trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
        return processes.launched(trainer, ["fit", "--model=MLP"], lambda error: RunError(f"told: {error}"))

    return start


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.0)


def test_the_others_get_the_command_line_and_their_place(launched):
    program = "import os, sys; names = ('MASTER_ADDR', 'MASTER_PORT', 'NODE_RANK', 'LOCAL_RANK', 'WORLD_SIZE'); "
    program += "open('found', 'w').write(repr((sys.argv[1:], [os.environ[name] for name in names])))"
    before = dict(os.environ)
    with launched(program):
        mine = dict(os.environ)
    argv, theirs = eval(Path("found").read_text())
    assert argv == ["fit", "--model=MLP"]
    port = mine["MASTER_PORT"]
    assert theirs == ["127.0.0.1", port, "0", "1", "2"]
    assert mine["LOCAL_RANK"] == "0"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", processes.Lost, "process 2 of 2 was ended by SIGKILL"),
        ("raise SystemExit(3)", processes.Lost, "process 2 of 2 ended with exit code 3; see its messages above"),
        ("raise SystemExit(130)", Stopped, "stopped by SIGINT"),
        ("import os; os.kill(os.getpid(), 15)", Stopped, "stopped by SIGTERM"),
    ],
)
def test_a_broken_connection_is_told_as_what_broke_it(launched, program, kind, message):
    with pytest.raises(kind, match=f"^{message}$"), launched(program):
        raise RuntimeError(BROKEN)


def test_a_broken_connection_to_a_process_of_another_launcher():
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    with (
        pytest.raises(processes.Lost, match="another process of the run"),
        processes.launched(trainer, [], lambda error: None),
    ):
        raise RuntimeError(BROKEN)


@pytest.mark.parametrize("error", [RunError("diverged"), Stopped(2), ValueError("a mistake in the program")])
def test_what_ends_the_first_process_ends_the_others(launched, error):
    program = f"import os; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'its-pid'); {WAITS}"

    def run() -> None:
        with launched(program):
            while not Path("its-pid").exists():
                pass
            raise error

    with pytest.raises(type(error)):
        run()
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("its-pid").read_text()), 0)


def test_a_first_process_that_waits_for_ever_is_ended(launched, no_grace, monkeypatch, capsys):
    ended, over, codes = threading.Event(), threading.Event(), []
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set(), over.wait()))
    with launched("raise SystemExit(3)"):
        ended.wait()
    over.set()
    assert codes == [1]
    said = "error: told: process 2 of 2 ended with exit code 3; see its messages above\n"
    assert capsys.readouterr().err == said
