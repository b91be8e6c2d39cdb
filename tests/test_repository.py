"""What visitors of the repository find: links that lead somewhere, a workflow that can start, one version."""

import re
import subprocess
import tomllib
from urllib.parse import unquote

import pytest
import yaml

from tests.documents import ROOT, anchors, documents, links

GITHUB = ROOT / ".github"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(path):
    text = path.read_text(encoding="utf-8")
    broken = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_named_in_documents_are_there(path):
    names = re.findall(
        r"`((?:zoo|datamodules|tests|configs|\.github|\.ci)/[\w./-]*)`", path.read_text(encoding="utf-8")
    )
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_links_and_anchors_are_read_as_github_does():
    text = "# A `b` & [C](d.md)\n[x](y.md#z) ![p](q.png) `[no](code)`\n## Twice\n## Twice\n```\n# no [l](m)\n```\n"
    assert links(text) == ["d.md", "y.md#z", "q.png"]
    assert anchors(text) == {"a-b--c", "twice", "twice-1"}


def test_images_are_small():
    images = [*(GITHUB / "assets").glob("*.png")]
    assert images
    assert [image.name for image in images if image.stat().st_size >= 300_000] == []


def test_every_image_is_shown():
    shown = {(path.parent / link).resolve() for path in documents() for link in links(path.read_text("utf-8"))}
    assert [image.name for image in (GITHUB / "assets").iterdir() if image not in shown] == []


def test_front_page_is_the_readme():
    """GitHub shows .github/README.md in place of README.md."""
    assert not (GITHUB / "README.md").exists()
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 220


@pytest.mark.parametrize(("name", "last"), [("train", "python cli.py fit"), ("test", "python -m pytest")])
def test_ci_runs_the_commands_of_the_readme(name, last):
    command = subprocess.run([ROOT / ".ci" / "readme", name], capture_output=True, text=True, check=True).stdout
    assert "pip install -e" in command
    assert last in command
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f".ci/readme {name}" in (GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8")


def test_version_stands_in_the_changelog_and_the_citation():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text(encoding="utf-8")
    changelog = (GITHUB / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[?([\d.]+)", changelog, flags=re.MULTILINE)[0] == version


def test_workflow():
    """It pins its actions by commit, may only read, and names tests that exist."""
    text = (GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["uses"] for step in steps if not re.search(r"@[0-9a-f]{40}$", step.get("uses", f"@{0:040}"))] == []
    tests = re.findall(r"tests/[\w/.]+", text)
    assert tests
    assert [name for name in tests if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", [ROOT / ".pre-commit-config.yaml", *(GITHUB / "ISSUE_TEMPLATE").iterdir()], ids=str)
def test_yaml_can_be_read(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
