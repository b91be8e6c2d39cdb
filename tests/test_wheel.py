"""The built wheel works from any directory: it carries the configs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_works_from_another_directory(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "cli.py",
        "zoo",
        "datamodules",
        "configs",
    }
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped
    templates = {"zoo/evaluation/report.html.jinja", "zoo/evaluation/report.css", "zoo/exporting/card.md.jinja"}
    assert {*shipped, *templates, "configs/results.yaml", "zoo/catalogue/model_facts.json"} <= set(names)
    (scripts,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "cifar10-zoo = cli:run" in (tmp_path / "installed" / scripts).read_text()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import sys, cli; print(cli.__file__); sys.exit(cli.main())"
    options = ["fit", "--config", "cnn", "--config", "synthetic", "--data.train_size=64", "--trainer.fast_dev_run=true"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "installed") in done.stdout
    assert "CNN on synthetic" in done.stdout
