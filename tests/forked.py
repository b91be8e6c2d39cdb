"""Commands in processes of their own, without the seconds that Python takes to import torch and Lightning.

A server, which starts at the first use, has imported them. It forks a process with one thread for each command:

    done = forked.run("fit", "--model=MLP")  # as subprocess.run([sys.executable, "cli.py", ...])

The processes of a run with several are forked, too. A test needs a real launch (`launch`) where it is about the start
or the exit of the interpreter, about the environment that libraries read when they are imported, or about the way in
which one process starts another.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(ROOT / "cli.py")
SERVER = "FORK_SERVER"  # in the environment of the forked processes: where the server listens
LONGEST = 1 << 20  # bytes of a request


def run(*command: str, code: str | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run a command in a forked process, to its end; return its exit code and what it wrote.

    Args:
        command: a command of `cli.py` and its options.
        code: Python code to run instead; the command is then `sys.argv[1:]`.
        environment: variables beside those of this process.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Process(command, os.environ | environment, code, out.fileno(), err.fileno())
        returncode = process.wait()
        texts = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err))
        return subprocess.CompletedProcess(process.args, returncode, *texts)


def launch(*command: str, launcher: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess:
    """Run a command to its end as a user starts it, by an interpreter of its own.

    Args:
        command: a command of `cli.py` and its options.
        launcher: arguments of Python that start it.
        environment: variables beside those of this process.
    """
    words = [sys.executable, *launcher, COMMAND, *command]
    one_thread = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=os.environ | one_thread | environment, capture_output=True, text=True)


class Process:
    """A forked process, with what the product uses of `subprocess.Popen`.

    Args:
        command: a command of `cli.py` and its options.
        environment: its whole environment.
        code: see `run`.
        out: a file descriptor for stdout.
        err: likewise for stderr.

    Attributes:
        pid: its number.
        returncode: its exit code, or minus the signal that ended it; None while it runs.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        code: str | None = None,
        out: int = 1,
        err: int = 2,
    ) -> None:
        self.args = [sys.executable, COMMAND, *command]
        self.returncode: int | None = None
        request = {"command": command, "environment": dict(environment), "code": code, "folder": os.getcwd()}
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(os.environ.get(SERVER) or _server())
        socket.send_fds(self._connection, [json.dumps(request).encode()], [out, err])
        self.pid: int = self._receive()

    def _receive(self) -> Any:
        return json.loads(self._connection.recv(LONGEST))

    def poll(self) -> int | None:
        """Return `returncode`, brought up to date."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return `returncode` once the process has ended.

        Args:
            timeout: seconds.

        Raises:
            subprocess.TimeoutExpired: where it has not ended by then.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(self._receive())
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)


def seconds() -> float:
    """Return the CPU-seconds of all forked processes that have ended."""
    if not _server.cache_info().currsize:
        return 0.0
    return sum(map(float, _spent(_server()).read_text().split()))


@cache
def _server() -> str:
    """Start the server, which ends with this process; return where it listens."""
    place = str(Path(tempfile.mkdtemp(prefix="cifar10-zoo-tests-")) / "socket")
    _spent(place).touch()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", place],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    _server.process = server  # type: ignore[attr-defined]  # its stdin stays open as long as this process lives
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the fork server has not started"
    return place


def _spent(place: str) -> Path:
    return Path(place).with_name("spent")


def _serve(place: str) -> None:
    from zoo.core.installation import quick_imports

    with quick_imports():
        for module in (
            "cli",
            "zoo.training.main",
            "torch.utils.tensorboard",
            "matplotlib.backends.backend_agg",
        ):
            importlib.import_module(module)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(place)
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who attend to a request
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection, place)
        connection.close()
    for file in (place, _spent(place)):
        os.unlink(file)
    os.rmdir(os.path.dirname(place))


def _attend(connection: socket.socket, place: str) -> None:
    """Fork the process that a request asks for, and tell its number and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    content, streams, _, _ = socket.recv_fds(connection, LONGEST, 2)
    process = os.fork()
    if process == 0:
        connection.close()
        _become(json.loads(content), streams, place)
    for stream in streams:
        os.close(stream)
    connection.send(json.dumps(process).encode())
    _, status, usage = os.wait4(process, 0)
    with contextlib.suppress(FileNotFoundError), _spent(place).open("a") as file:
        file.write(f"{usage.ru_utime + usage.ru_stime:.3f}\n")
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        connection.send(json.dumps(status).encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int], place: str) -> None:
    import cli
    from zoo.training import processes

    os.setsid()
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(stream, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"] | {SERVER: place})
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = [COMMAND, *request["command"]]
    processes.subprocess = _Forking  # type: ignore[assignment]
    code: Any = 0
    try:
        if request["code"] is None:
            code = cli.main(request["command"])
        else:
            exec(request["code"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


class _Forking:
    """In place of the module `subprocess` in `zoo.training.processes`."""

    TimeoutExpired = subprocess.TimeoutExpired

    @staticmethod
    def Popen(words: list[str], env: Mapping[str, str]) -> Process:
        from zoo.training import processes

        return Process(tuple(words[2:]), {name: value for name, value in env.items() if name != processes.FIRST})


if __name__ == "__main__":
    _serve(sys.argv[1])
