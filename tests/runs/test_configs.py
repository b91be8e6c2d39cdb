"""Composition of configs."""

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import get_loader

from datamodules.errors import InputError
from zoo.runs import configs
from zoo.runs.command_line import CommandLine
from zoo.training.main import run_command


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_later_files_lie_over_earlier_ones():
    a = write("a.yaml", "data: {batch_size: 64, val_size: 10}\ntrainer: {max_epochs: 5}")
    b = write("b.yaml", "data: {batch_size: 32}")
    assert CommandLine(["fit", "--config", a, f"--config={b}"]).config == {
        "data": {"batch_size": 32, "val_size": 10},
        "trainer": {"max_epochs": 5},
    }


def test_another_class_starts_from_nothing():
    one = {"class_path": "zoo.models.cnn.ImprovedCNN", "init_args": {"dropout": 0.1}}
    assert configs.merge(one, {"class_path": "zoo.models.cnn.CNN"}) == {"class_path": "zoo.models.cnn.CNN"}
    assert configs.merge(one, {"class_path": "zoo.models.cnn.ImprovedCNN"}) == one
    assert configs.merge(one, {"init_args": {"dropout": 0.2}})["init_args"] == {"dropout": 0.2}


@pytest.mark.parametrize(
    ("base", "overlay", "settled"),
    [
        ({"callbacks": ["a"]}, {"callbacks+": ["b"]}, ["a", "b"]),
        ({"callbacks": ["a", "b"]}, {"callbacks+": ["b", "c"]}, ["a", "b", "c"]),
        ({"callbacks": "a"}, {"callbacks+": "b"}, ["a", "b"]),
        ({"callbacks": None}, {"callbacks+": ["b"]}, ["b"]),
        ({}, {"callbacks+": ["b"]}, ["b"]),
        ({"callbacks+": ["a"]}, {"callbacks+": ["b"]}, ["a", "b"]),
        ({"callbacks+": ["a"]}, {"callbacks": ["b"]}, ["b"]),
    ],
)
def test_a_plus_adds_to_a_list(base, overlay, settled):
    merged = configs.merge({"trainer": base}, {"trainer": overlay})
    text = configs.as_yaml(merged)
    assert yaml.safe_load(text) == {"trainer": {"callbacks": settled}}


def test_what_has_found_nothing_to_be_added_to_waits_for_it():
    """As an overlay does of a run that is resumed."""
    overlay = configs.merge({}, {"trainer": {"callbacks+": ["b"]}})
    assert configs.merge({"trainer": {"callbacks": ["a"]}}, overlay) == {"trainer": {"callbacks": ["a", "b"]}}


def test_an_overlay_leaves_the_callbacks_of_a_recipe():
    config = CommandLine(["fit", "--config", "speedrun96", "--config", "histograms", "--config", "collapse"]).config
    names = [entry["class_path"].rpartition(".")[2] for entry in config["trainer"]["callbacks"]]
    assert names == ["Lookahead", "Histograms", "DeadUnits"]


@pytest.mark.parametrize("same", ["SGD", "torch.optim.SGD", "torch.optim.sgd.SGD"])
def test_names_of_one_class(same):
    base = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    assert configs.merge(base, configs.expand({"optimizer": same})["optimizer"])["init_args"] == {"lr": 0.1}
    assert configs.merge(base, {"class_path": "mine.SGD"}) == {"class_path": "mine.SGD"}


def test_classes_on_the_command_line_come_last_wherever_they_stand():
    a = write("a.yaml", "model: {class_path: ImprovedCNN, init_args: {dropout: 0.1}}\noptimizer: SGD")
    composed = CommandLine(["fit", "--model", "CNN", "--config", a, "--optimizer=Adam", "--data.seed", "3", "--name=x"])
    assert composed.config["model"] == {"class_path": "zoo.models.cnn.CNN"}
    assert composed.config["optimizer"] == {"class_path": "torch.optim.Adam"}
    assert composed.rest == ["--data.seed", "3", "--name=x"]


def test_null_switches_off():
    a = write("a.yaml", "lr_schedule: Cosine")
    assert CommandLine(["fit", "--config", a, "--lr_schedule", "null"]).config == {"lr_schedule": None}


def test_numbers_survive(tmp_path):
    a = write("a.yaml", "optimizer: {class_path: SGD, init_args: {lr: 1e-3, weight_decay: 5.0e-4}}")
    option, text = CommandLine(["fit", "--config", a]).for_parser()
    assert option == "--config"
    assert get_loader("yaml")(text)["optimizer"]["init_args"] == {"lr": 0.001, "weight_decay": 0.0005}


@pytest.mark.parametrize("value", [1e-5, float("inf"), 3, True, None, "café 😀", "a: b", "1", [1, {"x": 2}]])
def test_values_survive(value):
    Path("a.yaml").write_text(yaml.safe_dump({"data": {"x": value}}, allow_unicode=True), encoding="utf-8")
    text = configs.as_yaml(CommandLine(["fit", "--config", "a.yaml"]).config)
    assert get_loader("yaml")(text)["data"]["x"] == value


def test_negative_values_are_values():
    assert CommandLine(["fit", "--optimizer.lr", "-1"]).rest == ["--optimizer.lr", "-1"]


@pytest.mark.parametrize("name", ["improved_cnn", "improved_cnn.yaml", "configs/improved_cnn.yaml"])
def test_shipped_configs_are_found_by_name(name):
    assert configs.find(name) == configs.SHIPPED / "improved_cnn.yaml"


@pytest.mark.parametrize("name", ["synthetic", "configs/synthetic.yaml", "configs/overlays/synthetic.yaml"])
def test_an_overlay_is_found_by_its_name(name):
    assert configs.find(name) == configs.SHIPPED / "overlays" / "synthetic.yaml"


def test_a_config_is_found_by_its_name_wherever_it_lies():
    assert configs.find("best") == configs.SHIPPED / "milestone4" / "best.yaml"
    assert configs.find("hidden_layer") == configs.SHIPPED / "hidden_layer.yaml"
    with pytest.raises(InputError, match="could be any of milestone4/relu_he, notebook/relu_he: give one of these"):
        configs.find("relu_he")
    with pytest.raises(InputError, match="no shipped config"):
        configs.find("results")


def test_shipped_configs_name_our_classes_without_their_modules():
    """So files can move. A short name and a path are the same class."""
    for name in configs.shipped():
        assert "zoo." not in "".join(line for line in configs.find(name).open() if not line.startswith("#"))
    lookahead = "zoo.training.callbacks.lookahead.Lookahead"
    for short, long in (("Lookahead", lookahead), ({"class_path": "Lookahead"}, {"class_path": lookahead})):
        for key in ("callbacks", "callbacks+"):
            assert configs.expand({"trainer": {key: short}}) == {"trainer": {key: long}}
            assert configs.expand({"trainer": {key: [short, 3]}}) == {"trainer": {key: [long, 3]}}


def test_a_file_comes_before_a_shipped_config_of_its_name():
    write("cnn", "model: MLP")
    assert configs.find("cnn") == Path("cnn")


def test_unknown_config():
    with pytest.raises(InputError, match="Did you mean 'improved_cnn'"):
        configs.find("configs/improvd_cnn.yaml")


def test_an_argument_may_have_whole_numbers_for_keys():
    """As the epochs of Lightning's GradientAccumulationScheduler are: a run's config.yaml has to be readable."""
    text = "trainer: {callbacks: [{class_path: A, init_args: {scheduling: {0: 1, 2: 8}}}]}"
    Path("a.yaml").write_text(text)
    assert configs.read(Path("a.yaml"))["trainer"]["callbacks"][0]["init_args"] == {"scheduling": {0: 1, 2: 8}}
    Path("b.yaml").write_text("trainer: {callbacks: {class_path: A, init_args: {scheduling: {0: 4}}}}")
    composed = CommandLine(["fit", "--config", "a.yaml", "--config", "b.yaml", "--config", "b.yaml"])
    assert configs.as_yaml(composed.config).count("0: 4") == 1


@pytest.mark.parametrize(
    "value",
    [
        "{class_path: torch.optim.SGD, init_args: {lr: 0.1}}",
        '{"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}',
        " {class_path: SGD, init_args: {lr: 1e-1}} ",
    ],
)
def test_a_class_as_yaml_on_the_command_line(value):
    """As Lightning documents it; the arguments of another class in a config are gone."""
    a = write("a.yaml", "optimizer: {class_path: Adam, init_args: {weight_decay: 0.5}}")
    expected = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    for words in (["--optimizer", value], [f"--optimizer={value}"]):
        assert CommandLine(["fit", "--config", a, *words]).config == {"optimizer": expected}


def test_classes_as_yaml_are_built():
    """Those of all three keys."""
    model = '--model={"class_path": "MLP", "init_args": {"hidden_sizes": [3]}}'
    optimizer = "--optimizer={class_path: torch.optim.SGD, init_args: {lr: 0.1}}"
    schedule = "--lr_schedule={class_path: Step, init_args: {factor: 0.5}}"
    data = ["--data.source=synthetic", "--data.train_size=16", "--data.val_size=8", "--data.test_size=8"]
    run = run_command(CommandLine(["fit", model, optimizer, schedule, *data, "--trainer.fast_dev_run=true"]))
    assert run.model.hparams.hidden_sizes == [3]
    optimizer = run.trainer.optimizers[0]
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.SGD, 0.1)
    assert run.model.lr_schedule.factor == 0.5


@pytest.mark.parametrize("text", ["{a: 1}", "[1]", "a: b", "- x", "[" * 500 + "]" * 500, "9" * 5000, "{a: &x [*x]}"])
def test_texts_that_jsonargparse_would_look_into(text):
    assert configs.reads_as_yaml(text)


@pytest.mark.parametrize(
    "text", ["", "a", "1", "1e-3", "null", "torch.optim.SGD", "{epoch}-{step}", "{epoch}", "a/b c", "[a"]
)
def test_texts_that_stay_texts(text):
    assert not configs.reads_as_yaml(text)
