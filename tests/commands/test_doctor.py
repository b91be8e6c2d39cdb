"""`doctor`: each misfit that it knows, played; checks that crash or hang; and a real machine, looked at for real."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import threadpoolctl
import torch

import cli
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from tests.helpers import write_pickle
from zoo.catalogue import registry
from zoo.commands import doctor, machine_checks, package_checks
from zoo.commands.doctor import Check
from zoo.commands.findings import LEVELS, OK, PROBLEM, WARNING, Finding
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
    monkeypatch.setattr(package_checks, "HOME", site)


def only(findings, subject: str | None = None) -> Finding:
    """The one finding, or the one on a subject."""
    (finding,) = [f for f in findings if subject in (None, f.subject)]
    assert finding.level in LEVELS
    assert "\n" not in finding.text + finding.fix
    assert finding.fix or finding.level == OK
    return finding


def tool(folder: Path, name: str, script: str) -> None:
    """Put a program into `folder`."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


# Packages.


@pytest.mark.parametrize(("asked", "level"), [(">=3.11", OK), (">=3.99", PROBLEM), ("<3.11", PROBLEM)])
def test_python(monkeypatch, asked, level):
    monkeypatch.setattr(package_checks, "pyproject", lambda: {"requires-python": asked})
    finding = only(package_checks.python_version())
    assert finding.level == level
    assert level == OK or asked in finding.text


@pytest.mark.usefixtures("no_checkout")
def test_required_packages(install, site):
    install("cifar10-zoo", "0.1.0", "there>=1.2", "missing[extra]<5,>=3", "old>=2,<3", "onnx>=9; extra == 'export'")
    install("there", "1.10+local")
    install("old", "1.9")
    findings = list(package_checks.required_packages())
    assert {f.subject for f in findings} == {"missing", "old"}
    assert only(findings, "missing") == Finding(
        PROBLEM, "missing", "not installed, <5,>=3 is needed", "pip install 'missing[extra]<5,>=3'"
    )
    assert only(findings, "old") == Finding(PROBLEM, "old", "1.9, <3,>=2 is needed", "pip install 'old<3,>=2'")
    shutil.rmtree(site / "old-1.9.dist-info")
    install("missing", "4.0.dev1")
    install("old", "2.0")
    assert only(package_checks.required_packages()).level == OK


def test_required_packages_of_a_checkout_are_those_of_its_pyproject(tmp_path, monkeypatch):
    monkeypatch.setattr(package_checks, "HOME", tmp_path)
    lines = ['name = "cifar10-zoo"', 'dependencies = ["no-such>=1"]', "[project.optional-dependencies]"]
    (tmp_path / "pyproject.toml").write_text("\n".join(["[project]", *lines, 'export = ["nor-such>=2"]']))
    assert only(package_checks.required_packages()).fix == "pip install 'no-such>=1'"
    finding = only(package_checks.export_packages())
    assert finding == Finding(OK, "export", "not installed: 'nor-such>=2'", "pip install 'nor-such>=2'")


def test_half_an_installation_is_none(install):
    """What an interrupted installation leaves behind has no version."""
    (install("threadpoolctl", "3.5.0") / "METADATA").write_text("")
    assert "not installed" in only(package_checks.required_packages(), "threadpoolctl").text


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_lightning(install, name, version):
    install(name, version)
    finding = only(package_checks.required_packages(), name)
    assert finding.level == PROBLEM
    assert "malicious" in finding.text
    assert f"pip uninstall {name}" in finding.fix
    assert "pip install -e" in finding.fix
    assert "change every password" in finding.fix


def test_malicious_lightning_is_not_imported(install, site, monkeypatch):
    install("lightning", "2.6.3")

    def refuse(*_):
        raise AssertionError("imported")

    monkeypatch.setattr(machine_checks, "import_module", refuse)
    monkeypatch.setattr(doctor, "apart", refuse)
    add_models(install, site, "theirs", Net="")
    assert "not checked" in only(doctor.plugins()).text
    monkeypatch.setattr(machine_checks, "accelerators", list)
    assert [f.subject for f in machine_checks.torch_and_machine() if f.subject == "lightning"] == []


def test_lightning_of_two_versions(install):
    install("lightning", "2.6.5")
    install("pytorch-lightning", "2.6.4")
    finding = only(package_checks.required_packages(), "pytorch-lightning")
    assert (finding.level, finding.fix) == (WARNING, "pip install pytorch-lightning==2.6.5")


def test_torchvision_made_for_another_torch(install, site):
    install("torch", "2.7.1+cu128")
    install("torchvision", "0.22.1", "numpy", "torch==2.7.1")
    assert not list(package_checks.torchvision_pin())
    shutil.rmtree(site / "torch-2.7.1+cu128.dist-info")
    install("torch", "2.8.0")
    finding = only(package_checks.torchvision_pin())
    assert (finding.level, finding.fix) == (WARNING, installation.REINSTALL_TORCH)
    assert "torch==2.7.1, not 2.8.0" in finding.text


def direct_url(folder: Path) -> str:
    return json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})


def test_this_project(install, site, monkeypatch):
    home = package_checks.HOME
    folder = install("cifar10-zoo", "7.0", direct_url__json=direct_url(home))
    assert only(package_checks.this_project()) == Finding(OK, "cifar10-zoo", f"7.0, editable in '{home}'")

    (folder / "direct_url.json").write_text(direct_url(Path("/another place")))
    finding = only(package_checks.this_project())
    assert finding.level == WARNING
    assert "in '/another place', but what runs is" in finding.text

    (folder / "direct_url.json").unlink()
    monkeypatch.setattr(package_checks, "HOME", site)
    assert only(package_checks.this_project()) == Finding(OK, "cifar10-zoo", f"7.0, installed in '{site}'")


def test_this_project_not_installed(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    finding = only(package_checks.this_project())
    assert finding.level == WARNING
    assert finding.fix == f"pip install -e '{package_checks.HOME}'"


@pytest.mark.parametrize("file", ["zoo/__init__.py", "datamodules/__init__.py", "cli.py"])
def test_a_module_that_hides_ours(site, install, file):
    (site / file).parent.mkdir(exist_ok=True)
    (site / file).touch()
    name = file.removesuffix(".py").partition("/")[0]
    finding = only(package_checks.own_modules())
    assert (finding.level, finding.subject) == (PROBLEM, f"module {name}")
    assert f"'{site / file.removesuffix('/__init__.py')}'" in finding.text
    assert f"'{package_checks.HOME / file.removesuffix('/__init__.py')}'" in finding.text
    assert "PYTHONPATH" in finding.fix
    install("their_thing", "1", top_level__txt=name)
    assert only(package_checks.own_modules()).fix == "pip uninstall their_thing"


def test_a_folder_of_that_name_hides_nothing(site):
    (site / "zoo").mkdir()
    assert only(package_checks.own_modules()).level == OK


@pytest.mark.usefixtures("no_checkout")
def test_a_module_that_was_put_over_ours(install, site):
    for name in ("zoo", "datamodules"):
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
    (site / "cli.py").touch()
    install("cifar10_zoo", "0.1.0", top_level__txt="zoo\ncli\ndatamodules")
    # Without this checkout, and without any other that is installed in editable mode.
    sys.path[:] = [entry for entry in sys.path if Path(entry) == site or not Path(entry, "cli.py").is_file()]
    assert only(package_checks.own_modules()).level == OK
    install("their-thing", "1", top_level__txt="cli")
    finding = only(package_checks.own_modules())
    assert (finding.level, finding.subject) == (PROBLEM, "module cli")
    assert f"their-thing put a module of that name over ours, '{site / 'cli.py'}'" in finding.text
    assert finding.fix == "pip uninstall their-thing, then pip install --force-reinstall cifar10-zoo"


def test_imports(site, install, monkeypatch):
    assert only(package_checks.imports()).level == OK
    install("broken", "1.0")
    (site / "broken.py").write_text("raise ValueError('numpy.dtype size changed,\\n may indicate')")
    monkeypatch.setattr(package_checks, "IMPORTED", ("numpy", "broken.part", "no_such.part"))
    broken, missing = package_checks.imports()
    assert (broken.level, broken.fix) == (PROBLEM, "pip install --force-reinstall broken")
    assert "numpy.dtype size changed, may indicate" in only([broken]).text
    assert (missing.level, missing.fix) == (PROBLEM, package_checks.install_command())


@pytest.mark.usefixtures("no_checkout")
def test_export_is_never_a_problem(install, site):
    extra = ["onnx>=1.17; extra == 'export'", "nor-such>=2; extra == 'export'", "nor-such-either; extra == 'test'"]
    folder = install("cifar10-zoo", "0.1.0", "numpy", *extra)
    install("onnx", "1.1")
    old, missing = package_checks.export_packages()
    assert old == Finding(WARNING, "onnx", "1.1, >=1.17 is needed", "pip install 'onnx>=1.17'")
    assert missing == Finding(OK, "export", "not installed: 'nor-such>=2'", "pip install 'nor-such>=2'")
    shutil.rmtree(folder)
    install("cifar10-zoo", "0.1.0", extra[0])
    shutil.rmtree(site / "onnx-1.1.dist-info")
    install("onnx", "1.17")
    assert only(package_checks.export_packages()) == Finding(OK, "export", "onnx")


def test_check_torch_still_raises(monkeypatch):
    installation.check_torch()
    monkeypatch.setattr(installation, "torch_misfit", lambda: "torch 1 and torchvision 2 do not fit each other (x)")
    with pytest.raises(InputError, match=r"do not fit each other \(x\): .*--force-reinstall torch torchvision"):
        installation.check_torch()
    finding = only(machine_checks.torch_and_machine())
    assert (finding.level, finding.fix) == (PROBLEM, "pip install --force-reinstall torch torchvision")


# Accelerators and cores.


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Callable[..., Finding]:
    """Look at the GPU of a made-up machine.

    smi: what its nvidia-smi does, as a script; visible: CUDA_VISIBLE_DEVICES.
    """

    def machine(
        *,
        cuda: str | None = "13.0",
        available: bool = False,
        mps: bool = False,
        smi: str | None = None,
        visible: str | None = None,
        computes: bool = True,
        said: str = "",
    ) -> Finding:
        def is_available() -> bool:
            if said:
                warnings.warn(said, stacklevel=1)
            return available

        def ones(*_, device: str) -> torch.Tensor:
            assert device == "cuda:0"
            if not computes:
                raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
            return torch.ones(1)

        properties = SimpleNamespace(name="NVIDIA Tiny", total_memory=3 * 2**30)
        fake = SimpleNamespace(
            cuda=SimpleNamespace(
                is_available=is_available, device_count=lambda: 1, get_device_properties=lambda _: properties
            ),
            backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
            version=SimpleNamespace(cuda=cuda),
            ones=ones,
        )
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        (programs / "nvidia-smi").unlink(missing_ok=True)
        if smi is not None:
            tool(programs, "nvidia-smi", smi)
        with monkeypatch.context() as inner:
            inner.setenv("PATH", f"{programs}")
            inner.setitem(sys.modules, "torch", fake)
            return only(machine_checks.accelerators())

    return machine


LISTS_ONE = "echo 'GPU 0: NVIDIA Tiny (UUID: GPU-1c2d)'"


def test_a_gpu(machine):
    assert machine(available=True, smi=LISTS_ONE) == Finding(OK, "GPU", "cuda:0, NVIDIA Tiny, 3 GiB")
    assert "MPS" in machine(cuda=None, mps=True).text


def test_a_gpu_that_this_torch_has_no_kernels_for(machine):
    finding = machine(available=True, computes=False)
    assert finding.level == PROBLEM
    assert "no kernel image is available for execution" in finding.text
    assert "pytorch.org" in finding.fix


@pytest.mark.parametrize("cuda", [None, "13.0"])
@pytest.mark.parametrize("smi", [None, "exit 0", "echo 'No devices found.'"])
def test_no_gpu_is_no_misfit(machine, cuda, smi):
    assert machine(cuda=cuda, smi=smi, visible="") == Finding(OK, "GPU", "none: the CPU trains")


def test_a_cpu_build_beside_a_gpu(machine):
    finding = machine(cuda=None, smi=LISTS_ONE)
    assert finding.level == WARNING
    assert "1 from NVIDIA, but this torch is built for the CPU" in finding.text
    assert "pytorch.org" in finding.fix


def test_a_driver_too_old(machine):
    finding = machine(smi=LISTS_ONE, said="The NVIDIA driver on your\nsystem is too old (found version 12020)")
    assert finding.level == PROBLEM
    assert "CUDA 13.0" in finding.text
    assert "driver on your system is too old (found version 12020)" in finding.text
    assert "update NVIDIA's driver" in finding.fix


@pytest.mark.parametrize("visible", ["", "-1", "-1,0", "1", "7,0", "NoDevFiles", "GPU-999"])
def test_a_gpu_that_is_hidden(machine, visible):
    finding = machine(smi=LISTS_ONE, visible=visible)
    assert (finding.level, finding.fix) == (WARNING, "unset CUDA_VISIBLE_DEVICES")
    assert f"CUDA_VISIBLE_DEVICES='{visible}'" in finding.text


@pytest.mark.parametrize("visible", ["0", " 0,-1", "GPU-1c"])
def test_what_hides_none_is_not_to_blame(machine, visible):
    assert "driver" in machine(smi=LISTS_ONE, visible=visible).fix


def test_a_driver_that_fails(machine):
    finding = machine(smi="echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert finding.level == WARNING
    assert "version mismatch" in finding.text
    assert "restart" in finding.fix


def test_a_driver_that_hangs(machine, monkeypatch):
    monkeypatch.setattr(machine_checks, "DRIVER_SECONDS", 0.2)
    finding = machine(smi="exec /bin/sleep 60")
    assert finding.level == WARNING
    assert "takes longer than 0.2 seconds" in finding.text


@pytest.fixture
def cores(monkeypatch, tmp_path) -> Callable[..., Finding]:
    """Look at the cores and threads of a made-up machine; files: those of its control group."""

    def cores(number: int, *, torch_threads: int, pool: int = 1, files: dict[str, str] | None = None) -> Finding:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)), raising=False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
        pools = [{"internal_api": "openblas", "num_threads": n} for n in (pool, 1)]
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
        group = tmp_path / "cgroup"
        monkeypatch.setattr(machine_checks, "CGROUP", group)
        for name, content in (files or {}).items():
            (group / name).parent.mkdir(parents=True, exist_ok=True)
            (group / name).write_text(content)
        return machine_checks.threads()

    for name in machine_checks.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return cores


def test_as_many_threads_as_cores(cores):
    assert only([cores(4, torch_threads=4, pool=4)]) == Finding(OK, "CPU", "4 cores; threads: torch 4, openblas 4")


@pytest.mark.parametrize("threads", [{"torch_threads": 8}, {"torch_threads": 1, "pool": 8}])
def test_more_threads_than_cores(cores, threads, monkeypatch):
    finding = only([cores(4, **threads)])
    assert (finding.level, finding.fix) == (WARNING, "export OMP_NUM_THREADS=4")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "8")
    finding = cores(4, **threads)
    assert "OMP_NUM_THREADS=8" in finding.text
    assert finding.fix == "export OMP_NUM_THREADS=4 OPENBLAS_NUM_THREADS=4"


V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
CGROUPS = {
    "version 2": ({"cpu.max": "150000 100000\n"}, 2),
    "version 2, none": ({"cpu.max": "max 100000\n"}, 8),
    "version 1": ({V1[0]: "300000\n", V1[1]: "100000\n"}, 3),
    "version 1, none": ({V1[0]: "-1\n", V1[1]: "100000\n"}, 8),
    "less than a core": ({"cpu.max": "50000 100000\n"}, 1),
    "unreadable": ({"cpu.max": "\n"}, 8),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_the_limit_of_a_container(cores, case):
    files, expected = CGROUPS[case]
    finding = cores(8, torch_threads=8, files=files)
    assert finding.text.startswith(f"{expected} core")
    assert finding.level == (OK if expected == 8 else WARNING)


# Data and directories.


def test_no_data():
    finding, folder = machine_checks.data()
    assert finding.level == WARNING
    assert "python cli.py data prepare" in finding.fix
    assert "--config synthetic" in finding.fix
    assert folder.level == OK
    assert not list(Path().iterdir())


def test_a_data_folder_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "no/such")
    finding = only(machine_checks.data(), "CIFAR-10")
    assert finding.level == PROBLEM
    assert "'no/such', which does not exist" in finding.text
    assert "unset it" in finding.fix
    assert not list(Path().iterdir())


def test_a_data_folder_that_cannot_be_looked_into(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "x" * 300)
    assert only(machine_checks.data()).level == PROBLEM


def test_official_data(official_layout, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    copy = only(machine_checks.data())
    assert copy.level == WARNING
    assert "not comparable" in copy.text
    assert "--data.verify_checksums=false" in copy.fix
    for name in CIFAR10.files:
        content = (official_layout / CIFAR10.folder / name).read_bytes()
        monkeypatch.setitem(CIFAR10.md5, name, hashlib.md5(content).hexdigest())
    assert only(machine_checks.data()).level == OK


def test_damaged_data(damaged_layout, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(damaged_layout))
    path = damaged_layout / CIFAR10.folder / "data_batch_3"
    path.unlink()
    write_pickle(path, [1, 2])
    finding = only(machine_checks.data())
    assert finding.level == PROBLEM
    assert "data_batch_3" in finding.text
    assert "data prepare" in finding.fix


@pytest.mark.real_data
def test_real_data(real_data, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(real_data))
    assert only(machine_checks.data()).level in (OK, WARNING)


def test_directories_leave_nothing_behind(monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(machine_checks.tempfile, "gettempdir", lambda: str(temporary))
    runs, temp = machine_checks.directories()
    assert (runs.level, temp.level) == (OK, OK)
    assert str(temporary) in temp.text
    assert [path.absolute() for path in Path().iterdir()] == [temporary]
    assert not list(temporary.iterdir())


def test_runs_is_a_file():
    Path("runs").touch()
    finding = only(machine_checks.directories(), "runs")
    assert finding.level == PROBLEM
    assert "--runs_dir" in finding.fix
    Path("runs").unlink()
    Path("runs").symlink_to("nowhere")
    assert only(machine_checks.directories(), "runs").level == PROBLEM


def test_a_folder_that_may_not_be_written(monkeypatch):
    """As root, any folder may be: so the refusal is played."""
    tried = []

    def refuse(*, dir: Path):
        tried.append(dir)
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(machine_checks.tempfile, "TemporaryFile", refuse)
    Path("runs").mkdir()
    for finding in machine_checks.directories():
        assert finding.level == PROBLEM
        assert "Permission denied" in only([finding]).text
    assert tried[0] == Path("runs").absolute()
    assert only(machine_checks.data(), "data").level == PROBLEM


def test_no_temporary_folder(monkeypatch):
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(machine_checks.tempfile, "gettempdir", none)
    finding = only(machine_checks.directories(), "temporary")
    assert finding.level == PROBLEM
    assert "TMPDIR" in finding.fix


def test_little_room(monkeypatch):
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9 - 1))
    findings = [*machine_checks.directories(), only(machine_checks.data(), "data")]
    assert [finding.level for finding in findings] == [WARNING] * 3
    assert all(finding.fix.startswith("make room, or ") for finding in findings)
    assert "357 MB" in findings[-1].fix
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert [finding.level for finding in machine_checks.directories()] == [OK, OK]


# Plugins.

HANGS = "import os, time; open(f'hangs-{os.getpid()}', 'w').close(); time.sleep(3600)"


@pytest.fixture
def _no_patience(monkeypatch) -> None:
    """Let time be up for a process as soon as it hangs, however slow the machine is."""
    communicate = subprocess.Popen.communicate

    def until_it_hangs(process, input=None, timeout=None):
        while True:
            try:
                return communicate(process, input, 0.05)
            except subprocess.TimeoutExpired as late:
                if timeout is not None and Path(f"hangs-{process.pid}").exists():
                    raise subprocess.TimeoutExpired(process.args, timeout, late.output) from None

    monkeypatch.setattr(subprocess.Popen, "communicate", until_it_hangs)


PLUGINS = {
    "Crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "Hangs": HANGS,
    "Asks": "input()",
    "Leaves": "import os; os._exit(0)",
    "Raises": "print('loud', flush=True); raise KeyError('cause')",
}


def add_models(install, site: Path, package: str, **sources: str) -> None:
    lines = [f"{name} = {name.lower()}_module:{name}" for name in sources]
    install(package, "1.0", entry_points__txt="\n".join([f"[{registry.ENTRY_POINT_GROUP}]", *lines]))
    for name, source in sources.items():
        (site / f"{name.lower()}_module.py").write_text(source)


@pytest.mark.usefixtures("_no_patience")
def test_broken_plugins(install, site):
    add_models(install, site, "their-models", **PLUGINS)
    findings = list(doctor.plugins())
    assert len(findings) == len(PLUGINS)
    causes = {
        "Crashes": "signal 11",
        "Hangs": "takes longer than 60 seconds",
        "Asks": "EOFError",
        "Leaves": "it ended its process",
        "Raises": "KeyError: 'cause'",
    }
    for name, cause in causes.items():
        finding = only(findings, name)
        assert finding.level == PROBLEM
        assert cause in finding.text
        assert "pip uninstall their-models" in finding.fix


def test_a_plugin_that_the_registry_leaves_out(install, site):
    add_models(install, site, "their-models", CNN="")
    finding = only(doctor.plugins())
    assert finding.level == PROBLEM
    assert "'CNN' of the package 'their-models'" in finding.text
    assert not finding.text.startswith("warning")


def test_a_good_plugin(install, site):
    add_models(install, site, "their-models", Good="from zoo.models.cnn import CNN\nclass Good(CNN):\n    pass\n")
    assert only(doctor.plugin("Good")) == Finding(OK, "Good", "a model of the package 'their-models', can be loaded")


def test_no_plugins(monkeypatch):
    monkeypatch.setattr(registry, "distributions", list)
    registry.entries.cache_clear()
    assert only(doctor.plugins()).level == OK


# Processes.


@pytest.fixture
def look(site) -> Callable[[str], Check]:
    """Make a check of a source text."""

    def look(source: str) -> Check:
        (site / "looks.py").write_text(f"import os\ndef look():\n    yield ('ok', 'first', 'well', '')\n    {source}\n")
        function = SimpleNamespace(__module__="looks", __name__="look")
        return Check("", "subject", function, "the fix")  # type: ignore[arg-type]

    return look


FIRST = Finding(OK, "first", "well")
ENDS = {
    "raise ValueError('a\\ncause')": "cause",
    "os.abort()": "it was ended by signal 6 (Aborted)",
    "os._exit(0)": "it ended its process",
    "os._exit(3)": "it ended with exit code 3",
    "raise SystemExit": "it ended its process",
}


@pytest.mark.parametrize("source", ENDS)
def test_a_check_that_does_not_end_well(look, source):
    first, last = doctor.apart(look(source))
    assert first == FIRST
    assert last == Finding(PROBLEM, "subject", f"the check failed: {ENDS[source]}", "the fix")


@pytest.mark.usefixtures("_no_patience")
def test_a_check_that_hangs(look):
    """With a process of its own that holds its output open."""
    source = f"import subprocess; subprocess.Popen(['sleep', '60']); {HANGS}"
    last = doctor.apart(look(source), seconds=5)[-1]
    assert last == Finding(PROBLEM, "subject", "the check failed: it takes longer than 5 seconds", "the fix")


def test_a_check_that_lacks_a_package(look):
    last = doctor.apart(look("import no_such_package"))[-1]
    assert "No module named 'no_such_package'" in last.text
    assert last.fix == package_checks.install_command()


def test_a_check_that_ends_well(look):
    source = "print('noise'); os.write(1, b'noise'); import atexit; atexit.register(open, 'waited', 'w')"
    assert doctor.apart(look(source)) == [FIRST]
    assert not Path("waited").exists()


def test_no_process_at_all(look, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "No such file" in only(doctor.apart(look("pass"))).text


# The command.


@pytest.fixture
def played(monkeypatch) -> Callable[..., None]:
    """Play the findings."""

    def played(*findings: Finding) -> None:
        monkeypatch.setattr(
            doctor, "all_checks", lambda: [Check("Group", "x", list, ""), Check("Group", "y", list, "")]
        )
        answers = iter([list(findings), []])
        monkeypatch.setattr(doctor, "apart", lambda check: next(answers))

    return played


WELL, SO_SO, BAD = Finding(OK, "a", "b"), Finding(WARNING, "c", "d", "e"), Finding(PROBLEM, "f", "g", "h")


def test_findings_in_words(played, capsys):
    played(WELL, SO_SO, BAD, BAD)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Group"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "ok a b", "warning c d. Fix: e", "problem f g. Fix: h", "problem f g. Fix: h", "2 problems and 1 warning"
    ]  # fmt: skip


def test_a_warning_is_no_failure(played, capsys):
    played(WELL, SO_SO)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("1 warning\n")
    played(WELL)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("all is well\n")


def test_findings_as_json(played, capsys):
    played(WELL, BAD)
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"level": "ok", "subject": "a", "text": "b", "fix": ""},
        {"level": "problem", "subject": "f", "text": "g", "fix": "h"},
    ]


def test_bad_input(capsys):
    assert cli.main(["doctor", "--jsn"]) == 2
    assert "Did you mean '--json'?" in capsys.readouterr().err


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
    for subject in ("Python", "imports", "torch", "lightning", "CPU"):
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
    assert "Aborted" in only(findings, "torch").text
    assert only(findings, "torch").fix == installation.REINSTALL_TORCH
    assert "libopenblas.so" in only(findings, "CIFAR-10").text
    assert "ImportError: gone" in only(findings, "packages").text
    assert only(findings, "runs").level == OK


def test_the_command_itself_needs_nothing():
    code = "import sys; from zoo.commands import doctor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(cli.__file__).parent, capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "packaging", "lightning", "threadpoolctl"} & set(done.stdout.split())


def test_one_unreadable_package_does_not_hide_the_owner_of_a_module(tmp_path, monkeypatch):
    for package, metadata in (("aaa", b"Name: caf\xe9\n"), ("impostor", b"Name: impostor\nVersion: 1\n")):
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_bytes(metadata)
        (info / "top_level.txt").write_text("datamodules\n")
    monkeypatch.syspath_prepend(tmp_path)
    fixes = [finding.fix for finding in package_checks.own_modules() if finding.subject == "module datamodules"]
    assert len(fixes) == 1
    assert "pip uninstall impostor" in fixes[0]
