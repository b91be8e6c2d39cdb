"""`compare`: on run directories that are written by hand, and on one that `fit` leaves behind."""

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.collections import PolyCollection

import cli
from tests import helpers
from tests.helpers import Hostile, in_markdown
from zoo.plots import png, run_curves

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {"max_epochs": 3, "logger": None, "enable_progress_bar": None, "limit_train_batches": None},
    "model": {"class_path": "zoo.models.mlp.MLP", "init_args": {"hidden_sizes": [64]}},
    "data": {"data_dir": None, "source": "synthetic", "task": "multiclass", "batch_size": 64, "seed": None},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001, "betas": [0.9, 0.999]}},
    "lr_schedule": {"class_path": "zoo.core.schedules.Constant"},
    "name": None,
    "runs_dir": "runs",
    "ckpt_path": None,
}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}


def merged(base: dict, changes: dict) -> dict:
    """`base` with dotted keys of it changed."""
    base = json.loads(json.dumps(base))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = base
        for name in sections:
            section = section[name]
        section[last] = value
    return base


def make(
    path: str,
    accuracy: float | None = 0.5,
    config: dict | None = None,
    facts: dict | None = None,
    curve: list[float] | None = None,
) -> Path:
    """Write a run to runs/`path`, as `fit` does; unfinished where it has no accuracy."""
    run = Path("runs", path)
    run.mkdir(parents=True)
    config = merged(CONFIG, config or {})
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if curve:
        lines = [f"synthetic,{epoch},{value}" for epoch, value in enumerate(curve, start=1)]
        (run / "metrics.csv").write_text("\n".join(["data,epoch,val/acc", *lines]) + "\n")
    if accuracy is not None:
        content = {
            "model": config["model"]["class_path"].rpartition(".")[2],
            "parameters": 197322,
            "data": {"source": "synthetic", "task": config["data"]["task"]},
            "epochs": 3,
            "fit_seconds": 10.0,
            "val/acc": accuracy + 0.01,
            "test/acc": accuracy,
            "test/f1": accuracy - 0.01,
            "hardware": "x86_64 CPU, 1 threads",
            "versions": {"torch": "2.15.0", "cifar10-zoo": "0.1.0"},
        }
        (run / "metrics.json").write_text(json.dumps(content | (facts or {})))
    return run


@pytest.fixture
def compare(capsys) -> Callable[..., tuple[list[dict[str, str]], str]]:
    """Compare runs; return the rows of the table, by column, and what else was said."""

    def compare(*arguments: str) -> tuple[list[dict[str, str]], str]:
        capsys.readouterr()
        assert cli.main(["compare", *arguments, "--format", "csv"]) == 0
        output = capsys.readouterr()
        return list(csv.DictReader(io.StringIO(output.out))), output.err

    return compare


@pytest.fixture
def text(capsys) -> Callable[..., str]:
    """Compare runs; return what is printed."""

    def text(*arguments: str) -> str:
        assert cli.main(["compare", *arguments]) == 0
        return capsys.readouterr().out

    return text


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """Call in a wrong way; return the one line that says so."""

    def refusal(*arguments: str) -> str:
        return helpers.refusal(capsys, "compare", *arguments)

    return refusal


def column(rows: list[dict[str, str]], name: str) -> list[str]:
    return [row[name] for row in rows]


# Which runs are one row.


def test_seeds_are_one_row_with_mean_and_sample_standard_deviation(compare, text):
    accuracies = [0.5049, 0.5068, 0.5058]
    for seed, accuracy in enumerate(accuracies):
        make(f"MLP/2026-01-0{seed + 1}", accuracy, {"seed_everything": seed}, {"fit_seconds": 30.0 + seed})
    (row,), said = compare("runs")
    assert said == ""
    assert row["n"] == "3"
    assert float(row["test/acc_mean"]) == pytest.approx(statistics.mean(accuracies), abs=1e-15)
    assert float(row["test/acc_std"]) == pytest.approx(statistics.stdev(accuracies), abs=1e-15)
    assert float(row["seconds"]) == 31
    head, _, heads, cells = text("runs").splitlines()
    assert head == "synthetic, multiclass; mean ± sample standard deviation of n seeds"
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert f"  {mean + 0.01:.4f} ± {std:.4f}  {mean:.4f} ± {std:.4f}  {mean - 0.01:.4f} ± {std:.4f}" in cells
    assert heads.split() == ["name", "model", "n", "epochs", "parameters", "seconds", "val/acc", "test/acc", "test/f1"]
    assert cells.split()[:6] == ["MLP", "MLP", "3", "3", "197,322", "31.0"]


def test_a_single_seed_has_no_spread(compare, text):
    make("MLP/2026-01-01", 0.25)
    (row,), _ = compare("runs")
    assert (row["test/acc_mean"], row["test/acc_std"]) == ("0.25", "")
    assert "±" not in text("runs")
    assert "  0.2600   0.2500    0.2400" in text("runs")


SAME = {
    "name": "other",
    "runs_dir": "/elsewhere",
    "data.data_dir": "/data",
    "data.seed": 1,
    "trainer.logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}},
    "trainer.enable_progress_bar": False,
    "trainer.accelerator": "cpu",
    "save_every_n_steps": 100,
    "compile": True,
    "added_since": None,
}


@pytest.mark.parametrize("key", SAME)
def test_what_training_does_not_depend_on_makes_no_row(compare, key):
    make("MLP/2026-01-01")
    make("MLP/2026-01-02", config={"seed_everything": 1, key: SAME[key]})
    assert column(compare("runs")[0], "n") == ["2"]


OTHER = {
    "optimizer.init_args.lr": ("lr", ["0.001", "0.01"], 0.01),
    "optimizer": ("optimizer", ["AdamW", "SGD"], SGD),
    "data.batch_size": ("batch_size", ["64", "16"], 16),
    "data.test_size": ("test_size", ["", "100"], 100),
    "trainer.limit_train_batches": ("limit_train_batches", ["", "0.5"], 0.5),
    "ckpt_path": ("ckpt_path", ["", "CNN"], "/runs/CNN/2026-01-01/checkpoints/best.ckpt"),
    "early_stopping": ("early_stopping", ["", "5"], 5),
    "model.init_args.hidden_sizes": ("hidden_sizes", ["[64]", "[]"], []),
    "trainer.callbacks": ("callbacks", ["", "[EMA]"], [{"class_path": "mine.EMA", "init_args": {"decay": 0.9}}]),
}


@pytest.mark.parametrize("key", OTHER)
def test_what_training_depends_on_makes_a_row_and_a_column(compare, key):
    head, shown, value = OTHER[key]
    make("MLP/2026-01-01")
    make("MLP/2026-01-02", config={"seed_everything": 1, key: value})
    rows, _ = compare("runs")
    assert column(rows, "n") == ["1", "1"]
    assert column(rows, head) == shown


@pytest.mark.parametrize("hardware", ["4 x NVIDIA H200", "x86_64 CPU, 4 processes, 1 threads"])
def test_more_processes_are_larger_steps(compare, hardware):
    make("MLP/2026-01-01")
    make("MLP/2026-01-02", config={"seed_everything": 1}, facts={"hardware": hardware})
    assert column(compare("runs")[0], "processes") == ["1", "4"]


def test_one_batch_is_not_all_of_them(compare):
    for day, limit in enumerate((1, 1.0), start=1):
        make(f"MLP/2026-01-0{day}", config={"trainer.limit_train_batches": limit})
    assert column(compare("runs")[0], "limit_train_batches") == ["1", "1.0"]


def test_a_run_that_was_resumed_with_other_settings_is_none_of_one_piece(compare):
    make("MLP/2026-01-01")
    resumed = make("MLP/2026-01-02", config={"seed_everything": 1})
    untouched = make("MLP/2026-01-03", config={"seed_everything": 2})
    before = merged(CONFIG, {"seed_everything": 1, "trainer.max_epochs": 2})
    (resumed / "config_2_epochs.yaml").write_text(yaml.safe_dump(before))
    before = merged(CONFIG, {"seed_everything": 2, "trainer.enable_progress_bar": False})
    (untouched / "config_2_epochs.yaml").write_text(yaml.safe_dump(before))
    rows, _ = compare("runs")
    assert column(rows, "n") == ["2", "1"]
    assert column(rows, "max_epochs until epoch 2") == ["", "2"]


def test_a_run_that_was_resumed_twice_tells_both(compare):
    make("MLP/2026-01-01")
    resumed = make("MLP/2026-01-02", config={"seed_everything": 1})
    for epochs, size in ((2, 32), (4, 16)):
        (resumed / f"config_{epochs}_epochs.yaml").write_text(yaml.safe_dump(merged(CONFIG, {"data.batch_size": size})))
    rows, _ = compare("runs")
    assert column(rows, "batch_size until epoch 2") == ["", "32"]
    assert column(rows, "batch_size until epoch 4") == ["", "16"]


def test_of_a_repeated_seed_the_newest_run_counts(compare):
    for name, accuracy in (("2026-01-01_9", 0.1), ("2026-01-01_10", 0.3), ("2025-12-31", 0.2)):
        make(f"MLP/{name}", accuracy)
    make("MLP/2026-01-02", 0.4, {"seed_everything": 1})
    for order in (["runs"], ["runs/MLP/2026-01-01_10", "runs"]):
        (row,), said = compare(*order)
        assert row["n"] == "2"
        assert float(row["test/acc_mean"]) == pytest.approx(statistics.mean([0.3, 0.4]))
        (line,) = said.splitlines()
        assert line.endswith("the same seed: runs/MLP/2025-12-31, runs/MLP/2026-01-01_9")


def test_the_seed_of_the_data_is_the_runs_where_it_is_not_given(compare):
    make("MLP/2026-01-01", 0.1, {"data.seed": 0})
    make("MLP/2026-01-02", 0.2)
    (row,), said = compare("runs")
    assert (row["n"], row["test/acc_mean"]) == ("1", "0.2")
    assert "the same seed" in said


def test_from_checkpoints_of_their_own_runs_of_one_seed_are_no_repetitions(compare):
    for day in (1, 2):
        make(f"MLP/2026-01-0{day}", config={"ckpt_path": f"/runs/CNN/2026-01-0{day}/checkpoints/best.ckpt"})
    assert column(compare("runs")[0], "n") == ["2"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("mlp-0", "mlp-1"), "mlp-*"),
        (("mlp-1", "mlp-11"), "mlp-1*"),
        (("a-0-synthetic", "a-1-synthetic", "a-2-synthetic"), "a-*-synthetic"),
        (("x", "y"), "x +1"),
    ],
)
def test_the_name_of_a_row_is_what_its_runs_share(compare, names, shown):
    for seed, name in enumerate(names):
        make(f"{name}/2026-01-01", config={"seed_everything": seed})
    assert column(compare("runs")[0], "name") == [shown]


# Which runs are found.


def test_a_run_that_is_named_twice_counts_once(compare):
    make("MLP/2026-01-01")
    Path("link").symlink_to("runs/MLP")
    (row,), said = compare("runs", "runs/MLP/2026-01-01", "./runs/MLP/", "link")
    assert (row["n"], row["name"], said) == ("1", "MLP", "")


def test_evaluations_are_no_runs(compare):
    run = make("MLP/2026-01-01")
    evaluation = run / "test" / "2026-01-02"
    evaluation.mkdir(parents=True)
    shutil.copy(run / "metrics.json", evaluation)
    assert column(compare("runs")[0], "n") == ["1"]


def test_unfinished_runs_are_counted(compare):
    make("MLP/2026-01-01", None)
    make("MLP/2026-01-02", None)
    validated = make("MLP/2026-01-03", None)
    (validated / "metrics.json").write_text(json.dumps({"model": "MLP", "val/acc": 0.5}))
    make("MLP/2026-01-04")
    rows, said = compare("runs")
    assert column(rows, "n") == ["1"]
    assert said == "note: not finished, and left out: 3 of 4 runs\n"


# The order of the rows.


def three() -> None:
    for name, lr, accuracy, seconds in (("b10", 1, 0.3, 5.0), ("b9", 2, 0.2, 20.0), ("a", 3, None, 10.0)):
        facts = {"fit_seconds": seconds, "epochs": lr, "parameters": 10 - lr}
        make(f"{name}/2026-01-01", accuracy or 0.9, {"optimizer.init_args.lr": lr}, facts)
    path = Path("runs/a/2026-01-01/metrics.json")
    facts = json.loads(path.read_text())
    del facts["val/acc"], facts["parameters"]
    path.write_text(json.dumps(facts))


ORDERS = {
    "runs": ["a", "b9", "b10"],
    "runs/b10 runs": ["b10", "a", "b9"],
    "runs/b9 runs/a runs/b10": ["b9", "a", "b10"],
    "runs/b9 runs --sort name": ["a", "b9", "b10"],
    "runs --sort val/acc": ["b10", "b9", "a"],  # which has none, and the best accuracy on the test set
    "runs --sort seconds": ["b10", "a", "b9"],
    "runs --sort epochs": ["b10", "b9", "a"],
    "runs --sort parameters": ["b9", "b10", "a"],  # which has none
}


@pytest.mark.parametrize("arguments", ORDERS)
def test_order(compare, arguments):
    three()
    assert column(compare(*arguments.split())[0], "name") == ORDERS[arguments]


@pytest.mark.parametrize("key", ["test/acc", "test/f1", "test"])
def test_rows_are_never_ranked_by_the_test_set(refusal, key):
    three()
    line = refusal("runs", "--sort", key)
    assert f"--sort {key} is refused" in line
    assert "selecting by test metrics" in line
    assert "--sort val/acc" in line


# The columns.


def test_arguments_of_different_classes_are_no_difference(compare):
    make("a/1")
    make("b/1", config={"optimizer": SGD})
    rows, _ = compare("runs")
    assert column(rows, "optimizer") == ["AdamW", "SGD"]
    assert column(rows, "lr") == ["0.001", "0.1"], "both have it"
    assert not {"betas", "momentum"} & rows[0].keys()
    make("c/1", config={"optimizer": merged(SGD, {"init_args.momentum": 0.5})})
    assert column(compare("runs")[0], "momentum") == ["", "0.9", "0.5"]


def test_an_argument_that_a_class_has_got_since_is_a_difference(compare):
    make("a/1")
    make("b/1", config={"model.init_args.activation": "zoo.scratch.activations.Tanh"})
    assert column(compare("runs")[0], "activation") == ["", "Tanh"]


def test_classes_of_one_name_are_told_apart(compare):
    for module in ("mine", "yours"):
        make(f"{module}/1", config={"model.class_path": f"{module}.Net"})
    assert column(compare("runs")[0], "model") == ["mine.Net", "yours.Net"]


def test_heads_are_as_short_as_they_can_be(compare):
    make("a/1", config={"model.init_args.decay": 1, "optimizer.init_args.decay": 2, "optimizer.init_args.n": 3})
    make("b/1", config={"model.init_args.decay": 4, "optimizer.init_args.decay": 5, "optimizer.init_args.n": 6})
    rows, _ = compare("runs")
    assert list(rows[0])[4:8] == ["model.decay", "optimizer.decay", "optimizer.n", "n"]
    assert list(rows[1].values())[4:8] == ["4", "5", "6", "1"]


def test_by_shows_the_keys_that_are_asked_for(compare):
    make("a/1")
    make("b/1", config={"data.batch_size": 16, "optimizer.init_args.lr": 0.1})
    rows, _ = compare("runs", "--by", "optimizer.lr", "optimizer")
    assert list(rows[0])[2:6] == ["name", "model", "lr", "optimizer"]
    assert [(row["lr"], row["optimizer"], row["n"]) for row in rows] == [("0.001", "AdamW", "1"), ("0.1", "AdamW", "1")]
    rows, _ = compare("runs", "--by", "optimizer.class_path")
    assert [(row["optimizer"], row["n"]) for row in rows] == [("AdamW", "1"), ("AdamW", "1")], "rows stay what they are"


def test_a_figure_that_one_of_the_seeds_lacks(compare, text):
    for seed in (0, 1):
        make(f"MLP/{seed}", config={"seed_everything": seed})
    run = make("MLP/2", config={"seed_everything": 2}, facts={"val/acc": None})
    facts = json.loads((run / "metrics.json").read_text())
    del facts["parameters"], facts["epochs"]
    (run / "metrics.json").write_text(json.dumps(facts))
    (row,), _ = compare("runs")
    assert [row[name] for name in ("epochs", "parameters", "val/acc_mean", "val/acc_std")] == [""] * 4
    assert row["test/acc_std"] == "0.0"
    assert text("runs").splitlines()[-1].split()[:7] == ["MLP", "MLP", "3", "-", "-", "10.0", "-"]


def test_the_binary_task_shows_the_recall_of_its_first_class(compare):
    for seed, recall in enumerate((0.6, 0.7)):
        facts = {"test/acc_per_class": {"airplane": recall, "not airplane": 0.9}}
        make(f"MLP/{seed}", 0.9, {"data.task": "binary", "seed_everything": seed}, facts)
    (row,), _ = compare("runs")
    assert float(row["recall of airplane_mean"]) == pytest.approx(statistics.mean((0.6, 0.7)))
    assert float(row["recall of airplane_std"]) == pytest.approx(statistics.stdev((0.6, 0.7)))


def test_csv_has_every_digit_and_the_data(compare):
    make("MLP/1", 1 / 3, facts={"data": {"source": "CIFAR-10 copy (not the official files)", "task": "multiclass"}})
    (row,), _ = compare("runs")
    assert float(row["test/acc_mean"]) == 1 / 3
    assert (row["data"], row["task"]) == ("CIFAR-10 copy (not the official files)", "multiclass")


def test_markdown(text):
    make("a|b/1")
    head, _, heads, rule, cells = text("runs", "--format=markdown").splitlines()
    assert head == "synthetic, multiclass"
    assert heads == "| name | model | n | epochs | parameters | seconds | val/acc | test/acc | test/f1 |"
    assert rule.count("---") == 9
    assert cells == r"| a\|b | MLP | 1 | 3 | 197,322 | 10.0 | 0.5100 | 0.5000 | 0.4900 |"


def hostile_runs(text: Hostile) -> list[str]:
    """Two runs with a hostile text in every field that is shown; return these texts."""
    shared = {"data": {"source": text(), "task": text()}, "hardware": text(), "versions": {"torch": text()}}
    key, names, settings = text(), [text(), text()], [text(), text()]
    for name, setting in zip(names, settings, strict=True):
        facts = shared | {"model": f"{name}Net"}
        config = merged(CONFIG, {"data.task": "binary", "seed_everything": setting})
        config["optimizer"]["init_args"][key] = setting
        config["model"]["class_path"] = f"{name}Net"
        make(f"{name}/1", facts=facts, curve=[0.1])
        Path("runs", name, "1", "config.yaml").write_text(yaml.safe_dump(config))
    return [*shared["data"].values(), key, *names, *settings]


def test_no_text_is_more_than_a_cell(compare, text, drawn):
    hostile = Hostile()
    shown = hostile_runs(hostile)
    rows, _ = compare("runs", "--plot=curves.png")
    (first, second), cells = rows, [cell for row in rows for cell in (*row.keys(), *row.values())]
    assert first.keys() == second.keys()
    assert None not in first
    for one in shown:
        assert one in cells or f"{one}Net" in cells
    assert {curve.label for curve in drawn[0][0]} == {f"{name} (n=1)" for name in (first["name"], second["name"])}

    title, _, heads, *lines = text("runs").splitlines()
    assert title == f"{shown[0]}, {shown[1]}"
    assert len(lines) == 2
    for one in shown[2:]:
        assert one in "".join((heads, *lines))

    title, _, *lines = text("runs", "--format=markdown").splitlines()
    assert title == in_markdown(f"{shown[0]}, {shown[1]}")
    for one in shown[2:]:
        assert in_markdown(one) in "".join(lines)
    pipes = {re.sub(r"\\.", "", line).count("|") for line in lines}
    assert pipes == {1 + len(first) - 2 - 3}  # the CSV has the data and the task, too, and three spreads


# What must not be compared.


def test_runs_on_other_images_of_the_same_name_are_not_averaged(compare):
    """Two folders of images may have one name."""
    data = {"source": "photos", "task": "multiclass"}
    make("a/1", facts={"data": data | {"test": 40}, "test/acc_per_class": {"cat": 0.5, "dog": 0.5}})
    others = {"data": data | {"test": 50}, "test/acc_per_class": {"cat": 0.5, "dog": 0.5}}
    make("a/2", config={"seed_everything": 1}, facts=others)
    make("a/3", config={"seed_everything": 2}, facts=others)
    make("a/4", config={"seed_everything": 3}, facts=others | {"test/acc_per_class": {"cat": 0.5, "cow": 0.5}})
    rows, _ = compare("runs")
    assert [row["n"] for row in rows] == ["1", "2", "1"]


@pytest.mark.parametrize(
    "data",
    [
        {"source": "CIFAR-10", "task": "multiclass"},
        {"source": "CIFAR-10 copy (not the official files)", "task": "multiclass"},
        {"source": "synthetic", "task": "binary"},
    ],
)
def test_different_data_and_tasks_have_tables_of_their_own(compare, text, refusal, data):
    make("a/1")
    make("a/2", config={"seed_everything": 1})
    make("b/1", 0.3, {"data.batch_size": 16}, facts={"data": data, "test/acc_per_class": {"disc": 1.0}})
    make("b/2", 0.4, facts={"data": data, "test/acc_per_class": {"disc": 1.0}})
    first, second = re.split(r"\n\n(?=\w)", text("runs"))
    assert first.startswith("synthetic, multiclass; mean ± sample standard deviation of n seeds\n\n")
    task = "binary (disc against the rest)" if data["task"] == "binary" else "multiclass"
    assert second.startswith(f"{data['source']}, {task}\n\n")
    assert [line.split()[0] for line in first.splitlines()[2:]] == ["name", "a"]
    assert [line.split()[0] for line in second.splitlines()[2:]] == ["name", "b", "b"]
    assert "batch_size" in second
    assert "batch_size" not in first, "it differs in the other table alone"
    assert text("runs", "--format=markdown").count("| name | model |") == 2
    assert [line.split()[2] for line in text("runs", "--sort=val/acc").splitlines() if line.startswith("  b")] == [
        "64",
        "16",
    ]

    rows, _ = compare("runs")
    kinds = [("synthetic", "multiclass"), (data["source"], task), (data["source"], task)]
    assert [(row["data"], row["task"]) for row in rows] == kinds
    if data["task"] == "binary":
        assert column(rows, "recall of disc_mean") == ["", "1.0", "1.0"]
    assert [(row["name"], row["batch_size"], row["n"]) for row in rows] == [
        ("a", "64", "2"), ("b", "16", "1"), ("b", "64", "1"),
    ]  # fmt: skip
    assert text("runs", "--by=batch_size").count("batch_size") == 2

    line = refusal("runs", "--plot=curves.png")
    assert "runs/a/1 is of synthetic, multiclass" in line
    assert f"runs/b/1 of {data['source']}, {data['task']}" in line
    assert "compare runs/a --plot" in line
    assert not Path("curves.png").exists()


def test_runs_that_differ_in_the_data_alone_are_not_seeds_of_one(text):
    """Whether the files were the official ones stands in no config."""
    make("a/1")
    make("a/2", config={"seed_everything": 1}, facts={"data": {"source": "CIFAR-10", "task": "multiclass"}})
    assert len(re.split(r"\n\n(?=\w)", text("runs"))) == 2


def test_different_versions_are_told(compare):
    facts = {"versions": {"torch": "2.6.0", "cifar10-zoo": "0.1.0"}}
    make("a/1", facts=facts)
    make("a/2", config={"seed_everything": 1})
    assert compare("runs")[1] == "note: the runs are of different versions of torch: 2.6.0, 2.15.0\n"
    make("a/3", facts={"versions": {"torch": "2.15.0"}})
    expected = [
        "versions of cifar10-zoo: 0.1.0, unknown",
        "a newer run has the same config and the same seed: runs/a/1",
    ]
    for line, end in zip(sorted(compare("runs")[1].splitlines(), reverse=True), expected, strict=True):
        assert line.endswith(end)


# Plots.


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What is drawn."""
    calls: list[tuple] = []

    def draw(*arguments):
        calls.append(arguments)
        return original(*arguments)

    original = run_curves.draw
    monkeypatch.setattr(run_curves, "draw", draw)
    return calls


def test_a_plot_has_the_curve_of_each_row(compare, drawn):
    make("a/1", curve=[0.1, 0.2, 0.3, 0.4])
    make("a/2", config={"seed_everything": 1}, curve=[0.2, 0.3, 0.4])  # stopped early
    make("b/1", config={"data.batch_size": 16}, curve=[0.5])
    make("c/1", config={"data.batch_size": 8})
    Path("curves.png").write_bytes(b"an old one")
    _, said = compare("runs", "--plot", "curves.png")
    ((curves, quantity, title),) = drawn
    assert quantity == "val/acc"
    assert title == "synthetic, multiclass; mean and range of n seeds"
    assert curves == [
        ("a (n=2)", [1, 2, 3], [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]),
        ("b (n=1)", [1], [[0.5]]),
    ]
    assert "rows not drawn, because not all of their runs have val/acc: 1" in said
    content = Path("curves.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000
    assert {path.name for path in Path().iterdir()} == {"runs", "curves.png"}


def test_rows_of_one_name_are_told_apart_by_what_differs_between_them(compare, drawn):
    make("a/1", curve=[0.1])
    make("a/2", config={"optimizer.init_args.lr": 0.1}, curve=[0.2])
    make("b/1", config={"data.batch_size": 16}, curve=[0.3])
    compare("runs", "--plot", "curves.png")
    assert [curve.label for curve in drawn[0][0]] == ["a, lr 0.001 (n=1)", "a, lr 0.1 (n=1)", "b (n=1)"]


def test_a_curve_that_no_run_has(refusal):
    make("a/1", curve=[0.1])
    line = refusal("runs", "--plot", "curves.png", "--curve", "val/ac")
    assert "--curve val/ac: " in line
    assert "Did you mean 'val/acc'? There are: val/acc" in line
    Path("runs/a/1/metrics.csv").unlink()
    assert "There are: none" in refusal("runs", "--plot", "curves.png")
    assert not Path("curves.png").exists()


def test_mean_as_a_line_and_range_as_a_band():
    seeds = [[0.1, 0.5], [0.2, 0.3], [0.6, 0.7]]
    curves = [run_curves.Curve("several", [1, 2], seeds), run_curves.Curve("single", [1, 2], [[0.1, 0.2]])]
    (axes,) = run_curves.draw(curves, "val/acc", "synthetic").axes
    several, single = axes.get_lines()
    assert several.get_ydata() == pytest.approx([statistics.mean(epoch) for epoch in zip(*seeds, strict=True)])
    assert single.get_ydata() == pytest.approx([0.1, 0.2])
    (band,) = [shape for shape in axes.collections if isinstance(shape, PolyCollection)]
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(6).tolist()}
    assert corners == {(1, 0.1), (1, 0.6), (2, 0.3), (2, 0.7)}
    assert axes.get_title() == "synthetic"
    assert axes.get_ylabel() == "val/acc"


def test_eighteen_curves_differ_and_leave_the_legend_its_room():
    rng = np.random.default_rng(0)
    curves = [
        run_curves.Curve(f"{name} {'with much to tell ' * 4}", range(1, 31), rng.random((3, 30)).cumsum(axis=1))
        for name in range(18)
    ]
    figure = run_curves.draw(curves, "val/acc", "synthetic")
    (axes,), (legend,) = figure.axes, figure.legends
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 18
    assert len(png.render(figure, dpi=100)) < 150_000
    room = legend.get_window_extent()
    assert not room.overlaps(axes.get_window_extent())
    assert axes.get_window_extent().width > 0.4 * figure.bbox.width
    assert figure.get_figwidth() < 11, "inches: long labels are broken"
    assert 0 <= room.x0 < room.x1 <= figure.bbox.width
    assert 0 <= room.y0 < room.y1 <= figure.bbox.height


def test_more_curves_than_can_be_told_apart(refusal):
    for size in range(29):
        make(f"a/{size}", config={"data.batch_size": 8 + size}, curve=[0.1])
    assert "up to 28 curves, not 29" in refusal("runs", "--plot", "curves.png")


# Bad input.

CASES = {
    "": ["needs runs", "compare runs/CNN runs/MLP"],
    "--by lr runs": ["needs runs, before its options"],
    "runz": ["'runz' does not exist. Did you mean 'runs'?"],
    "runs/MPL/1": ["'runs/MPL/1' does not exist. Did you mean 'MLP'?"],
    "x" * 300: ["does not exist"],
    "runs/MLP/1/config.yaml": ["holds no run", "give a directory with a config.yaml"],
    "empty": ["'empty' holds no run"],
    "runs runs/MLP empty": ["'empty' holds no run"],
    "unfinished": ["no run in 'unfinished' is finished", "metrics.json"],
    "runs --frmat csv": ["unknown option '--frmat'", "Did you mean '--format'?", "Options are: --by, --sort"],
    "runs --plots=x.png": ["unknown option '--plots'", "Did you mean '--plot'?"],
    "runs --format cvs": ["--format cvs is unknown. Did you mean 'csv'?", "text, markdown, csv"],
    "runs --format": ["compare: ", "--format", "expected one argument"],
    "runs --sort second": ["--sort second is unknown. Did you mean 'seconds'?", "val/acc, name, epochs"],
    "runs --by optimiser.lr": ["--by optimiser.lr", "Did you mean 'optimizer.lr'?"],
    "runs --by data_dir": ["--by data_dir", "no run has this key"],
    "runs --by decay": ["--by decay could be any of model.decay, optimizer.decay"],
    "runs --plot curves.jpg": ["--plot curves.jpg", "ends in .png"],
    "runs --plot folder.png": ["--plot folder.png", "ends in .png"],
    "runs --plot runs/MLP/1/config.yaml/x.png": ["cannot be written"],
    "runs --curve val/acc": ["--curve val/acc", "--plot FILE.png"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(refusal, command):
    make("MLP/1", curve=[0.1], config={"model.init_args.decay": 1, "optimizer.init_args.decay": 2})
    make("../unfinished/MLP/1", None)
    Path("empty").mkdir()
    Path("folder.png").mkdir()
    before = sorted(Path().rglob("*"))
    line = refusal(*command.split())
    for expected in CASES[command]:
        assert expected in line
    assert sorted(Path().rglob("*")) == before


BROKEN = {
    "metrics.json": ["{", "[]", '"text"', "{}}", '{"test/acc": 0.5}', b"\xff", "[" * 100_000],
    "config.yaml": ["model: [", "- a list", "!!python/object:os.system {}", b"\xff"],
    "config_2_epochs.yaml": ["model: ["],
    "metrics.csv": ["data,epoch,val/acc\nsynthetic,1,high\n", "val/acc\n0.5\n", b"data,epoch,val/acc\n\xff,1,0.5\n"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in BROKEN for content in BROKEN[name]])
def test_a_broken_file_is_named(refusal, name, content):
    run = make("MLP/1", curve=[0.1])
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert f"'runs/MLP/1/{name}'" in refusal("runs", "--plot", "curves.png")


def test_a_broken_run_is_left_out_and_named(compare):
    make("MLP/good", 0.5)
    make("MLP/unfinished", None)
    contents = {
        "cut": ("metrics.json", "{"),
        "list": ("metrics.json", "[]"),
        "deep": ("metrics.json", "[" * 100_000),
        "other": ("metrics.json", '{"accuracy": "x", "model": 5, "seed": {}}'),
        "empty": ("metrics.json", "{}"),
        "huge": ("metrics.json", '{"model": "MLP", "test/acc": 1e999, "data": {"task": "multiclass"}}'),
        "config": ("config.yaml", "model: ["),
        "tag": ("config.yaml", "model: !!python/object:os.system {}"),
        "twice": ("config.yaml", "data: {}\ndata: {}"),
    }
    for name, (file, content) in contents.items():
        (make(f"MLP/{name}") / file).write_text(content)
    rows, said = compare("runs")
    assert column(rows, "test/acc_mean") == ["0.5"]
    *broken, unfinished = said.splitlines()
    assert unfinished == "note: not finished, and left out: 1 of 11 runs"
    for (name, (file, _)), line in zip(sorted(contents.items()), broken, strict=True):
        assert line.startswith(f"note: 'runs/MLP/{name}/{file}' ")
        assert line.endswith(": this run is left out")


def test_several_broken_runs_alone_are_one_error(refusal):
    for name in ("1", "2"):
        (make(f"MLP/{name}") / "metrics.json").write_text("{")
    line = refusal("runs")
    assert "'runs/MLP/1/metrics.json'" in line
    assert line.endswith("; of 2 runs, 2 cannot be read")


@pytest.mark.parametrize(
    "facts",
    [
        {"test/acc": "high"},
        {"test/acc": 10**400},
        {"test/acc": [0.5]},
        {"data": None},
        {"data": {"source": "synthetic"}},
        {"versions": 2},
        {"hardware": 2},
        {"data": {"source": "synthetic", "task": "binary"}, "test/acc_per_class": {}},
    ],
)
def test_metrics_of_another_kind_are_named(refusal, facts):
    make("MLP/1", facts=facts)
    assert "'runs/MLP/1/metrics.json' is not what a run leaves behind" in refusal("runs")


# The command.


def test_needs_no_torch_and_no_matplotlib():
    make("MLP/1")
    code = (
        "import cli, sys; code = cli.main(['compare', sys.argv[1]]); "
        "assert not {'torch', 'lightning', 'matplotlib', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path("runs").resolve())],
        cwd=Path(cli.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "197,322" in done.stdout


def test_help(capsys):
    assert cli.main(["compare", "--help"]) == 0
    assert "--by" in capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out


# The keys of a config by which runs may differ and still be repetitions of one another. They are written out here a
# second time: a key that slips into the command's list has to fail a test.
FREE = {
    "seed_everything", "name", "runs_dir", "save_every_n_steps", "compile",
    "data.seed", "data.data_dir", "data.download", "data.mirrors", "data.verify_checksums", "data.eval_batch_size",
    "data.device",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.benchmark", "trainer.inference_mode",
    "trainer.logger", "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.enable_autolog_hparams", "trainer.profiler", "trainer.detect_anomaly", "trainer.default_root_dir",
    "trainer.model_registry", "trainer.num_sanity_val_steps", "trainer.limit_predict_batches",
}  # fmt: skip


def leaves(config: dict, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the keys of all values of a config, null ones too."""
    return [
        key
        for name, value in config.items()
        for key in (leaves(value, (*above, name)) if isinstance(value, dict) else [(*above, name)])
    ]


def assert_each_key_but_the_free_ones_makes_a_row(compare, run: Path) -> None:
    """Of a folder with a copy of a run for each key, in which that key has another value."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    keys = {".".join(part for part in key if part not in ("class_path", "init_args")): key for key in leaves(config)}
    assert len(keys) > 70
    assert keys.keys() >= FREE
    for number, key in enumerate([*keys, ""], start=1):
        copy = Path("copies", key or "unchanged", "1")
        copy.mkdir(parents=True)
        shutil.copy(run / "metrics.json", copy)
        changes = {"seed_everything": number} | ({".".join(keys[key]): f"other {number}"} if key else {})
        (copy / "config.yaml").write_text(json.dumps(merged(config, changes)))
    rows, _ = compare("copies")
    assert {row["name"] for row in rows if row["n"] == "1"} == keys.keys() - FREE
    assert [row["n"] for row in rows if row["n"] != "1"] == [str(len(FREE) + 1)]


def test_a_run_of_fit(compare):
    tiny = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--trainer.max_epochs=2"]
    for seed in (0, 1):
        assert cli.main(["fit", "--config=mlp", "--config=synthetic", *tiny, f"--seed_everything={seed}"]) == 0
    found = [json.loads(path.read_text()) for path in Path("runs").glob("*/*/metrics.json")]
    (row,), said = compare("runs", "--plot", "curves.png", "--curve", "train/loss")
    assert said == "note: drawn: curves.png\n"
    assert (row["name"], row["model"], row["n"], row["epochs"]) == ("MLP-synthetic", "MLP", "2", "2.0")
    assert float(row["parameters"]) == (3072 + 1) * 64 + (64 + 1) * 10
    assert float(row["seconds"]) == pytest.approx(statistics.mean(facts["fit_seconds"] for facts in found))
    for name in ("val/acc", "test/acc", "test/f1"):
        values = [facts[name] for facts in found]
        assert float(row[f"{name}_mean"]) == pytest.approx(statistics.mean(values))
        assert float(row[f"{name}_std"]) == pytest.approx(statistics.stdev(values))
    assert_each_key_but_the_free_ones_makes_a_row(compare, next(Path("runs").glob("*/*")))
