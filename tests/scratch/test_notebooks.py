"""The notebooks of the lesson: they run, with the answers in place of the exercises, and their checks hold."""

import os
import re
import signal
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

import zoo.scratch.notebooks

FOLDER = Path(zoo.scratch.notebooks.__file__).parent
ROOT = FOLDER.parents[2]
NOTEBOOKS = ["1_neuron", "2_hidden_layer", "3_softmax", "4_optimizers", "5_convolution"]
WITHOUT_TORCH = NOTEBOOKS[:4]
# What the lesson's README installs for these. To test them, the kernel that comes with JupyterLab is enough.
MINIMAL_INSTALL = "numpy matplotlib jupyterlab threadpoolctl pyyaml"


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def texts(cell: nbformat.NotebookNode) -> str:
    """What a cell printed, and the texts of what it showed."""
    outputs = cell.get("outputs", [])
    return "".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in outputs)


def installed_with(packages: list[str]) -> set[str]:
    """The packages that pip installs for these, in their normalized form, as far as they are installed here."""
    found: set[str] = set()
    while packages:
        name = packages.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        requirements = [Requirement(text) for text in metadata.requires(name) or []]
        packages += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture
def minimal_install(tmp_path) -> Path:
    """A folder that makes everything that the minimal installation lacks fail to be imported."""
    needed = installed_with(MINIMAL_INSTALL.replace("jupyterlab", "ipykernel").split())
    for module, packages in metadata.packages_distributions().items():
        names = {package.lower().replace("_", "-") for package in packages}
        if names & needed or names == {"cifar10-zoo"} or module.startswith("_"):
            continue
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text(f"raise ImportError('no {module} in a minimal installation')")
    assert {"torch", "lightning", "scipy", "sklearn"} <= {path.name for path in tmp_path.iterdir()}
    return tmp_path


def run(notebook: nbformat.NotebookNode, monkeypatch, path: str, strict: bool) -> None:
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("CHECKS", "strict" if strict else "")
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        client.execute()
    finally:
        signal.signal(signal.SIGINT, interrupted)  # where it was ignored, the client leaves its default


def test_there_is_one_for_each_milestone():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_answers_are_right(name, minimal_install, monkeypatch):
    """Notebooks 1 to 4 run in the minimal installation of the README, without PyTorch, and leave nothing behind."""
    assert f"pip install {MINIMAL_INSTALL}\n" in (FOLDER.parent / "README.md").read_text("utf-8")
    before = sorted(FOLDER.rglob("*"))
    notebook = read(name)
    for exercise, answer in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "exercise" in tags(exercise):
            exercise.source = answer.source
    path = os.pathsep.join([str(minimal_install)] * (name in WITHOUT_TORCH) + [str(ROOT)])
    run(notebook, monkeypatch, path, strict=True)
    for cell in notebook.cells:
        if "exercise" in tags(cell):
            assert ": right." in texts(cell)
    assert [path for path in sorted(FOLDER.rglob("*")) if "__pycache__" not in path.parts and path not in before] == []


@pytest.mark.full
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_as_it_is(name, monkeypatch):
    """The exercises are still to be done."""
    run(read(name), monkeypatch, str(ROOT), strict=False)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed(name):
    """Outputs without errors, pictures, and an answer folded below each exercise."""
    cells = read(name).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    exercises = [number for number, cell in enumerate(cells) if "exercise" in tags(cell)]
    assert 2 <= len(exercises) <= 4
    for number in exercises:
        exercise, answer = cells[number : number + 2]
        assert tags(answer) == ["answer"]
        assert answer.metadata["jupyter"]["source_hidden"]
        assert "..." in exercise.source
        assert "replace the dots" in texts(exercise)
        assert ": right." in texts(answer)
        asked, answered = (re.findall(r'check\(\s*"(\w+)"', cell.source) for cell in (exercise, answer))
        assert asked == answered != []
    for cell in code:
        assert len(texts(cell).splitlines()) <= 30, cell.source
        assert not re.search(r"/(home|root|tmp|work)/", texts(cell))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_500_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("https://") or (FOLDER / target).exists(), target
