"""`doctor`: each misfit that it knows, simulated; checks that crash or hang; and this machine, checked for real."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import cli
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from tests.helpers import write_pickle
from zoo.catalogue import registry
from zoo.commands import doctor, doctor_checks
from zoo.commands.doctor_checks import LEVELS, OK, PROBLEM, WARNING, Finding
from zoo.core import installation


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder for made-up packages, that Python looks into first."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    registry.entries.cache_clear()
    return folder


@pytest.fixture
def install(site) -> Callable[..., Path]:
    """Install a package that is nothing but its metadata; return the folder of these."""

    def install(name: str, version: str, *requires: str, **files: str) -> Path:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        header = [f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.11", "Provides-Extra: export"]
        lines = ["Metadata-Version: 2.4", *header, *(f"Requires-Dist: {text}" for text in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n\n")
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)
        return folder

    return install


@pytest.fixture
def no_checkout(site, monkeypatch) -> None:
    """Take the code for one that pip has copied to `site`."""
    monkeypatch.setattr(doctor_checks, "HOME", site)


def only(findings, subject: str | None = None) -> Finding:
    """The one finding, or the one on a subject."""
    (finding,) = [f for f in findings if subject in (None, f.subject)]
    assert finding.level in LEVELS
    assert "\n" not in finding.text + finding.fix
    assert finding.fix or finding.level == OK
    return finding


# Packages.


@pytest.mark.usefixtures("no_checkout")
def test_versions(install):
    install("cifar10-zoo", "0.1.0", "there>=1.2", "missing[extra]<5,>=3", "old>=2,<3", "onnx>=9; extra == 'other'")
    install("there", "1.10+local")
    install("old", "1.9")
    text = "missing<5,>=3 is needed, not installed, old<3,>=2 is needed, not 1.9"
    fix = "pip install --force-reinstall cifar10-zoo"
    assert only(doctor_checks.versions(), "packages") == Finding(PROBLEM, "packages", text, fix)


@pytest.mark.usefixtures("no_checkout")
def test_the_versions_that_are_required(install):
    install("cifar10-zoo", "0.1.0", "there>=3,<5")
    install("there", "4.0.dev1")
    assert only(doctor_checks.versions(), "packages").level == OK


def test_a_checkout_requires_what_its_pyproject_says(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_checks, "HOME", tmp_path)
    lines = ['name = "cifar10-zoo"', 'dependencies = ["no-such>=1"]', "[project.optional-dependencies]"]
    (tmp_path / "pyproject.toml").write_text("\n".join(["[project]", *lines, 'export = ["nor-such>=2"]']))
    packages, export = doctor_checks.versions()
    fix = f"pip install -e '{tmp_path}'"
    assert packages == Finding(PROBLEM, "packages", "no-such>=1 is needed, not installed", fix)
    fix = f"pip install -e '{tmp_path}[export]'"
    assert export == Finding(OK, "export", "nor-such>=2 is needed, not installed", fix)


@pytest.mark.usefixtures("no_checkout")
def test_an_old_package_of_an_extra_is_a_warning(install):
    install("cifar10-zoo", "0.1.0", "onnx>=1.17; extra == 'export'", "no-such; extra == 'export'")
    install("onnx", "1.1")
    text = "onnx>=1.17 is needed, not 1.1, no-such is needed, not installed"
    finding = only(doctor_checks.versions(), "export")
    assert finding == Finding(WARNING, "export", text, "pip install 'cifar10-zoo[export]'")


def test_half_an_installation_is_none(install):
    """What an interrupted installation leaves behind has no version."""
    (install("threadpoolctl", "3.5.0") / "METADATA").write_text("")
    assert "threadpoolctl>=3.1 is needed, not installed" in only(doctor_checks.versions(), "packages").text


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_lightning(install, name, version):
    install(name, version)
    finding = only(doctor_checks.versions(), name)
    assert finding.level == PROBLEM
    assert "malicious" in finding.text
    assert f"pip uninstall {name}" in finding.fix
    assert "pip install -e" in finding.fix
    assert "change every password" in finding.fix


def test_malicious_lightning_is_not_imported(install, site, monkeypatch):
    install("lightning", "2.6.3")
    imported = []
    monkeypatch.setattr(doctor_checks, "import_module", imported.append)
    monkeypatch.setattr(registry, "load", imported.append)
    add_models(install, site, "their-models", Net="")
    assert "not checked" in only(doctor_checks.plugins()).text
    list(doctor_checks.torch_and_machine())
    assert imported == ["torch", "torchvision"]


def test_packages_that_do_not_fit_each_other(install, monkeypatch, site):
    """Let the real pip look."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    assert list(doctor_checks.pip_check()) == []
    install("torch", "2.8.0")
    install("torchvision", "0.22.1", "torch==2.7.1")
    install("their-thing", "1.0", "no-such>=3")
    findings = list(doctor_checks.pip_check())
    finding = only(findings, "torchvision")
    assert (finding.level, finding.fix) == (WARNING, installation.REINSTALL_TORCH)
    assert "torch==2.7.1, but you have torch 2.8.0" in finding.text
    finding = only(findings, "their-thing")
    assert (finding.level, finding.fix) == (WARNING, "pip install --upgrade their-thing")
    assert "no-such, which is not installed" in finding.text


def test_no_pip(site, monkeypatch):
    (site / "pip.py").write_text("raise ImportError('gone')")
    monkeypatch.setenv("PYTHONPATH", str(site))
    finding = only(doctor_checks.pip_check())
    assert finding.level == WARNING
    assert "ImportError: gone" in finding.text


def test_this_project(install, site, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site)])
    finding = only(doctor_checks.modules())
    assert (finding.level, finding.fix) == (WARNING, f"pip install -e '{doctor_checks.HOME}'")
    assert "not installed" in finding.text
    install("cifar10-zoo", "7.0")
    finding = only(doctor_checks.modules())
    assert finding.level == OK
    assert finding.text.startswith(f"7.0, '{doctor_checks.HOME}', Python 3.")


def test_another_copy_of_this_project(site, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site)])
    for file in ("cli.py", "zoo/__init__.py", "zoo/commands/doctor.py"):
        (site / file).parent.mkdir(exist_ok=True)
        (site / file).touch()
    finding = only(doctor_checks.modules(), "modules")
    assert (finding.level, finding.fix) == (WARNING, f"pip install -e '{doctor_checks.HOME}'")
    assert f"cli.py, zoo/__init__.py in '{site}' can hide ours in '{doctor_checks.HOME}'" in finding.text


@pytest.mark.parametrize("file", ["zoo/__init__.py", "datamodules/__init__.py", "cli.py", "zoo.py"])
def test_a_module_that_hides_ours(site, install, file, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site)])
    (site / file).parent.mkdir(exist_ok=True)
    (site / file).touch()
    finding = only(doctor_checks.modules(), "modules")
    assert finding.level == PROBLEM
    assert f"{file} in '{site}' can hide ours in '{doctor_checks.HOME}'" in finding.text
    assert "PYTHONPATH" in finding.fix
    install("their_thing", "1", RECORD=f"{file},,")
    finding = only(doctor_checks.modules(), "their_thing")
    assert (finding.level, finding.text) == (PROBLEM, f"its {file} can hide ours in '{doctor_checks.HOME}'")
    assert finding.fix.startswith("pip uninstall their_thing, then pip install")


def test_a_folder_of_that_name_hides_nothing(site, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site)])
    (site / "zoo").mkdir()
    assert only(doctor_checks.modules()).subject == "cifar10-zoo"


@pytest.mark.usefixtures("no_checkout")
def test_a_module_that_was_put_over_ours(install, site, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site)])
    (site / "cli.py").touch()
    install("cifar10_zoo", "0.1.0", RECORD="cli.py,,")
    assert only(doctor_checks.modules()).level == OK
    install("their-thing", "1", RECORD="cli.py,,")
    finding = only(doctor_checks.modules(), "their-thing")
    assert finding.level == PROBLEM
    assert finding.fix == "pip uninstall their-thing, then pip install --force-reinstall cifar10-zoo"


def test_one_unreadable_package_does_not_hide_the_owner_of_a_module(site, install):
    (install("aaa", "1", RECORD="zoo.py,,") / "METADATA").write_bytes(b"Name: caf\xe9\n")
    install("impostor", "1", RECORD="zoo.py,,")
    assert only(doctor_checks.modules(), "impostor").level == PROBLEM


def test_imports(site, install, monkeypatch):
    assert {finding.level for finding in doctor_checks.imports()} == {OK}
    install("broken", "1.0")
    (site / "broken.py").write_text("raise ValueError('numpy.dtype size changed,\\n may indicate')")
    monkeypatch.setattr(doctor_checks, "IMPORTED", ("broken.part", "no_such.part"))
    broken, missing = doctor_checks.imports()
    assert (broken.level, broken.fix) == (PROBLEM, "pip install --force-reinstall broken")
    assert "ValueError: numpy.dtype size changed, may indicate" in only([broken]).text
    assert (missing.level, missing.fix) == (PROBLEM, doctor_checks.install_command())


def test_torch_and_torchvision_that_do_not_fit_each_other(monkeypatch):
    installation.check_torch()
    monkeypatch.setattr(installation, "torch_misfit", lambda: "torch 1 and torchvision 2 do not fit each other (x)")
    with pytest.raises(InputError, match=r"do not fit each other \(x\): .*--force-reinstall torch torchvision"):
        installation.check_torch()
    finding = only(doctor_checks.torch_and_machine())
    assert (finding.level, finding.fix) == (PROBLEM, "pip install --force-reinstall torch torchvision")


# GPUs and cores.


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Callable[..., Finding]:
    """Check the GPU of a simulated machine.

    cause: why torch sees no GPU; driver: whether nvidia-smi is there; visible: CUDA_VISIBLE_DEVICES.
    """

    def machine(
        *,
        cause: Exception | None = None,
        mps: bool = False,
        driver: bool = False,
        visible: str | None = None,
        computes: bool = True,
    ) -> Finding:
        def init() -> None:
            if cause:
                raise cause

        def ones(*_, device: str) -> torch.Tensor:
            assert device == "cuda:0"
            if not computes:
                raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
            return torch.ones(1)

        cuda = SimpleNamespace(
            init=init,
            is_initialized=lambda: cause is None,
            device_count=lambda: 1,
            get_device_name=lambda _: "NVIDIA Tiny",
        )
        backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps))
        (tmp_path / "nvidia-smi").unlink(missing_ok=True)
        if driver:
            (tmp_path / "nvidia-smi").touch(stat.S_IRWXU)
        with monkeypatch.context() as inner:
            inner.setenv("PATH", f"{tmp_path}")
            inner.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            if visible is not None:
                inner.setenv("CUDA_VISIBLE_DEVICES", visible)
            inner.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, backends=backends, ones=ones))
            return only(doctor_checks.gpus())

    return machine


NO_DRIVER = RuntimeError("Found no NVIDIA driver on your system.")
NO_CUDA = AssertionError("Torch not compiled with CUDA enabled")


def test_a_gpu(machine):
    assert machine(driver=True) == Finding(OK, "GPU", "cuda:0, NVIDIA Tiny")
    assert "MPS" in machine(cause=NO_CUDA, mps=True).text


def test_a_gpu_that_this_torch_has_no_kernels_for(machine):
    finding = machine(computes=False)
    assert finding.level == PROBLEM
    assert "no kernel image is available for execution" in finding.text
    assert "pytorch.org" in finding.fix


@pytest.mark.parametrize("cause", [NO_DRIVER, NO_CUDA])
def test_no_gpu_is_no_misfit(machine, cause):
    assert machine(cause=cause, visible="") == Finding(OK, "GPU", "none: the CPU trains")


TOO_OLD = RuntimeError("The NVIDIA driver on your\nsystem is too old (found version 12020).")


@pytest.mark.parametrize(
    ("cause", "text"),
    [(NO_CUDA, "not compiled with CUDA"), (TOO_OLD, "on your system is too old (found version 12020)")],
)
def test_a_gpu_that_torch_cannot_use(machine, cause, text):
    finding = machine(cause=cause, driver=True)
    assert finding.level == WARNING
    assert text in finding.text
    assert finding.fix.startswith("update the driver, or install a torch")
    assert machine(cause=cause, driver=True, visible="7").fix.startswith("unset CUDA_VISIBLE_DEVICES, update")


def test_why_this_machine_uses_no_gpu(monkeypatch):
    """The words are those of the real torch."""
    if torch.cuda.is_available():
        pytest.skip("torch uses a GPU")
    monkeypatch.setattr(doctor_checks.shutil, "which", lambda _: "/bin/nvidia-smi")
    finding = only(doctor_checks.gpus())
    assert finding.level == WARNING
    assert finding.text.removeprefix("torch cannot use NVIDIA's GPU: ") != finding.text


@pytest.fixture
def cores(monkeypatch, tmp_path) -> Callable[..., Finding]:
    """Check the threads of a simulated machine; limit: that of its control group."""

    def cores(number: int, *, threads: int, limit: str | None = None) -> Finding:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)), raising=False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(doctor_checks, "CPU_LIMIT", tmp_path / "cpu.max")
        if limit is not None:
            (tmp_path / "cpu.max").write_text(limit)
        return doctor_checks.threads()

    return cores


def test_as_many_threads_as_cores(cores):
    assert only([cores(4, threads=4)]) == Finding(OK, "CPU", "cores: 4, threads: 4")


def test_more_threads_than_cores(cores):
    finding = only([cores(4, threads=8)])
    assert (finding.level, finding.fix) == (WARNING, "export OMP_NUM_THREADS=4")


@pytest.mark.parametrize(("limit", "expected"), [("150000 100000", 2), ("max 100000", 8), ("50000 100000", 1), ("", 8)])
def test_the_limit_of_a_container(cores, limit, expected):
    finding = cores(8, threads=8, limit=f"{limit}\n")
    assert finding.text.startswith(f"cores: {expected},")
    assert finding.level == (OK if expected == 8 else WARNING)


# Data and directories.


def test_no_data():
    finding, folder = doctor_checks.data()
    assert finding.level == WARNING
    assert "python cli.py data prepare" in finding.fix
    assert "--config synthetic" in finding.fix
    assert folder.level == OK
    assert not list(Path().iterdir())


def test_a_data_folder_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "no/such")
    finding = only(doctor_checks.data(), "CIFAR-10")
    assert finding.level == PROBLEM
    assert "'no/such'" in finding.text
    assert "let CIFAR10_DIR name another folder" in finding.fix
    assert not list(Path().iterdir())


def test_a_data_folder_that_cannot_be_searched(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "x" * 300)
    finding = only(doctor.apart(doctor_checks.data, doctor.CHECKS[doctor_checks.data]))
    assert (finding.level, finding.fix) == (PROBLEM, "let CIFAR10_DIR name another folder")
    assert "File name too long" in finding.text


def test_official_data(official_layout, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    copy = only(doctor_checks.data())
    assert copy.level == WARNING
    assert "not comparable" in copy.text
    assert "--data.verify_checksums=false" in copy.fix
    for name in CIFAR10.files:
        content = (official_layout / CIFAR10.folder / name).read_bytes()
        monkeypatch.setitem(CIFAR10.md5, name, hashlib.md5(content).hexdigest())
    assert only(doctor_checks.data()).level == OK


def test_damaged_data(damaged_layout, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(damaged_layout))
    path = damaged_layout / CIFAR10.folder / "data_batch_3"
    path.unlink()
    write_pickle(path, [1, 2])
    finding = only(doctor_checks.data())
    assert finding.level == PROBLEM
    assert "data_batch_3" in finding.text
    assert "data prepare" in finding.fix


@pytest.mark.real_data
def test_real_data(real_data, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(real_data))
    assert only(doctor_checks.data()).level in (OK, WARNING)


def test_directories_leave_nothing_behind(monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(doctor_checks.tempfile, "gettempdir", lambda: str(temporary))
    runs, temp = doctor_checks.directories()
    assert (runs.level, temp.level) == (OK, OK)
    assert str(temporary) in temp.text
    assert [path.absolute() for path in Path().iterdir()] == [temporary]
    assert not list(temporary.iterdir())


def test_runs_is_a_file():
    Path("runs").touch()
    finding = only(doctor_checks.directories(), "runs")
    assert finding.level == PROBLEM
    assert "--runs_dir" in finding.fix
    Path("runs").unlink()
    Path("runs").symlink_to("nowhere")
    assert only(doctor_checks.directories(), "runs").level == PROBLEM


def test_a_folder_that_may_not_be_written(monkeypatch):
    """As root, any folder may be: so the refusal is played."""
    tried = []

    def refuse(*, dir: Path):
        tried.append(dir)
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(doctor_checks.tempfile, "TemporaryFile", refuse)
    Path("runs").mkdir()
    for finding in doctor_checks.directories():
        assert finding.level == PROBLEM
        assert "Permission denied" in only([finding]).text
    assert tried[0] == Path("runs").absolute()
    assert only(doctor_checks.data(), "data").level == PROBLEM


def test_no_temporary_folder(monkeypatch):
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(doctor_checks.tempfile, "gettempdir", none)
    with pytest.raises(FileNotFoundError):  # which `apart` turns into a finding
        list(doctor_checks.directories())
    assert "TMPDIR" in doctor.CHECKS[doctor_checks.directories]


def test_little_room(monkeypatch):
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9 - 1))
    findings = [*doctor_checks.directories(), only(doctor_checks.data(), "data")]
    assert [finding.level for finding in findings] == [WARNING] * 3
    assert all(finding.fix.startswith("make room, or ") for finding in findings)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert [finding.level for finding in doctor_checks.directories()] == [OK, OK]


# Plugins.

HANGS = "import os, time; open(f'hangs-{os.getpid()}', 'w').close(); time.sleep(3600)"


@pytest.fixture
def _no_patience(monkeypatch) -> None:
    """Let time be up for a process as soon as it hangs, however slow the machine is."""
    communicate = subprocess.Popen.communicate

    def until_it_hangs(process, input=None, timeout=None):
        hangs = False
        while True:
            try:
                return communicate(process, input, 0.05)
            except subprocess.TimeoutExpired as late:
                if hangs and timeout is not None:
                    raise subprocess.TimeoutExpired(process.args, timeout, late.output, late.stderr) from None
                hangs = Path(f"hangs-{process.pid}").exists()  # what it wrote before is read in the next round

    monkeypatch.setattr(subprocess.Popen, "communicate", until_it_hangs)


BROKEN = {
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "Segmentation fault: while loading Net of the package",
    HANGS: "it takes longer than 5 seconds: while loading Net of the package their-models",
    "input()": "EOFError",
    "import os; os._exit(0)": "it ended its process",
    "print('loud', flush=True); raise KeyError('cause')": "KeyError: 'cause'",
}


def add_models(install, site: Path, package: str, **sources: str) -> None:
    lines = [f"{name} = {name.lower()}_module:{name}" for name in sources]
    install(package, "1.0", entry_points__txt="\n".join([f"[{registry.ENTRY_POINT_GROUP}]", *lines]))
    for name, source in sources.items():
        (site / f"{name.lower()}_module.py").write_text(source)


@pytest.mark.parametrize("source", BROKEN)
@pytest.mark.usefixtures("_no_patience")
def test_a_broken_plugin(install, site, source):
    add_models(install, site, "their-models", Net=source)
    finding = only(doctor.apart(doctor_checks.plugins, "uninstall it", seconds=5))
    assert finding.level == PROBLEM
    assert BROKEN[source] in finding.text
    assert "uninstall" in finding.fix


def test_a_plugin_that_the_registry_leaves_out(install, site):
    add_models(install, site, "their-models", CNN="")
    finding = only(doctor_checks.plugins())
    assert finding.level == PROBLEM
    assert "'CNN' of the package 'their-models'" in finding.text
    assert not finding.text.startswith("warning")


def test_a_good_plugin_beside_a_broken_one(install, site):
    good = "from zoo.models.cnn import CNN\nclass Good(CNN):\n    pass\n"
    add_models(install, site, "their-models", Bad="raise ValueError", Good=good)
    findings = list(doctor_checks.plugins())
    assert only(findings, "Bad").fix == "mend that package, or pip uninstall their-models"
    assert only(findings, "Good") == Finding(OK, "Good", "a model of the package 'their-models', can be loaded")


def test_no_plugins(monkeypatch):
    monkeypatch.setattr(registry, "distributions", list)
    registry.entries.cache_clear()
    assert list(doctor_checks.plugins()) == []


# Processes.


@pytest.fixture
def apart(site) -> Callable[..., list[Finding]]:
    """Run a check that is made of a source text, in a process of its own."""

    def apart(source: str, **options: float) -> list[Finding]:
        (site / "looks.py").write_text(f"import os\ndef look():\n    yield ('ok', 'first', 'well', '')\n    {source}\n")
        function = SimpleNamespace(__module__="looks", __name__="look")
        return doctor.apart(function, "the fix", **options)  # type: ignore[arg-type]

    return apart


FIRST = Finding(OK, "first", "well")
ENDS = {
    "raise ValueError('a\\ncause')": "exit code 1: cause",
    "os.abort()": "Aborted",
    "os._exit(0)": "it ended its process",
    "os._exit(3)": "exit code 3",
    "raise SystemExit": "it ended its process",
}


@pytest.mark.parametrize("source", ENDS)
def test_a_check_that_does_not_end_well(apart, source):
    first, last = apart(source)
    assert first == FIRST
    assert last == Finding(PROBLEM, "look", f"the check failed: {ENDS[source]}", "the fix")


@pytest.mark.usefixtures("_no_patience")
def test_a_check_that_hangs(apart):
    """With a process of its own that holds its output open."""
    first, last = apart(f"import subprocess; subprocess.Popen(['sleep', '60']); {HANGS}", seconds=5)
    assert first == FIRST
    assert last == Finding(PROBLEM, "look", "the check failed: it takes longer than 5 seconds", "the fix")


def test_a_check_that_lacks_a_package(apart):
    last = apart("import no_such_package")[-1]
    assert "No module named 'no_such_package'" in last.text
    assert last.fix == doctor_checks.install_command()


def test_a_check_that_ends_well(apart):
    assert apart("print('noise'); os.write(1, b'noise'); import atexit; atexit.register(open, 'waited', 'w')") == [
        FIRST
    ]
    assert not Path("waited").exists()


# The command.


@pytest.fixture
def played(monkeypatch) -> Callable[..., None]:
    """Play the findings."""

    def played(*findings: Finding) -> None:
        monkeypatch.setattr(doctor, "CHECKS", {"x": "", "y": ""})
        monkeypatch.setattr(doctor, "apart", lambda check, fix: list(findings) if check == "x" else [])

    return played


WELL, SO_SO, BAD = Finding(OK, "a", "b"), Finding(WARNING, "c", "d", "e"), Finding(PROBLEM, "f", "g", "h")


def test_findings_in_words(played, capsys):
    played(WELL, SO_SO, BAD, BAD)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "ok a b", "warning c d. Fix: e", "problem f g. Fix: h", "problem f g. Fix: h", "problems: 2, warnings: 1"
    ]  # fmt: skip


def test_a_warning_is_no_failure(played, capsys):
    played(WELL, SO_SO)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("problems: 0, warnings: 1\n")
    played(WELL)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("problems: 0, warnings: 0\n")


def test_findings_as_json(played, capsys):
    played(WELL, BAD)
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"level": "ok", "subject": "a", "text": "b", "fix": ""},
        {"level": "problem", "subject": "f", "text": "g", "fix": "h"},
    ]


def test_the_report_of_pytorch(played, monkeypatch, capsys):
    played(WELL)
    assert cli.main(["doctor", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert f"PyTorch version: {torch.__version__}" in out
    assert "Is CUDA available: " in out
    monkeypatch.setattr(doctor, "REPORT", [sys.executable, "-c", "raise ValueError('cause')"])
    assert cli.main(["doctor", "--verbose"]) == 0
    assert capsys.readouterr().out.endswith("exit code 1: ValueError: cause\n")


def test_bad_input(capsys):
    assert cli.main(["doctor", "--jsn"]) == 2
    assert "Did you mean '--json'?" in capsys.readouterr().err
    assert cli.main(["doctor", "--json", "--verbose"]) == 2
    assert "not allowed with argument --json" in capsys.readouterr().err


def run_doctor(*options: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, cli.__file__, "doctor", *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_real_machine():
    """This one, whose packages are good enough to run these tests."""
    done = run_doctor("--json")
    findings = [Finding(**finding) for finding in json.loads(done.stdout)]
    assert done.stderr == ""
    assert not [f for f in findings if f.text.startswith("the check failed")]
    assert 12 <= len(findings) <= 30
    for subject in ("packages", "numpy", "torch", "lightning", "GPU", "CPU"):
        assert only(findings, subject).level != PROBLEM
    assert done.returncode == any(finding.level == PROBLEM for finding in findings)
    assert not list(Path().iterdir())


def test_a_broken_machine(site):
    """NumPy and what reads versions cannot be imported, torch crashes: the rest is looked at all the same."""
    (site / "numpy.py").write_text("raise ImportError('libopenblas.so: cannot open')")
    (site / "torch.py").write_text("import os; os.abort()")
    (site / "packaging.py").write_text("raise ImportError('gone')")
    done = run_doctor("--json", PYTHONPATH=str(site))
    assert (done.returncode, done.stderr) == (1, "")
    findings = [Finding(**finding) for finding in json.loads(done.stdout)]
    assert "libopenblas.so" in only(findings, "numpy").text
    assert only(findings, "numpy").fix == "pip install --force-reinstall numpy"
    assert "Aborted" in only(findings, "torch_and_machine").text
    assert only(findings, "torch_and_machine").fix == installation.REINSTALL_TORCH
    for subject, cause in (("data", "libopenblas.so"), ("versions", "ImportError: gone")):
        assert cause in only(findings, subject).text
        assert only(findings, subject).fix == doctor_checks.install_command()
    assert only(findings, "runs").level == OK


def test_the_command_itself_needs_nothing():
    code = "import sys; from zoo.commands import doctor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(cli.__file__).parent, capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "packaging", "lightning", "threadpoolctl"} & set(done.stdout.split())
