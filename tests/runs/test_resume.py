"""Runs that are cut short and go on: by the command line, with dropout, batch norm and augmentation."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import cli
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from tests import forked, plugins
from tests.helpers import rows, run_of, scalars, weights
from zoo.catalogue import registry
from zoo.core import files
from zoo.models.numpy_mlp import NumPyMLP
from zoo.runs import checkpoints, run_directory
from zoo.runs import resume as resumption

ROOT = Path(cli.__file__).parent
# Five batches an epoch, the last one smaller.
DATA = ["--data.source=synthetic", "--data.train_size=36", "--data.val_size=20", "--data.test_size=20"]
DATA += ["--data.batch_size=8", "--data.crop_padding=2", "--data.horizontal_flip=true"]
DATA += ["--data.policy=randaugment", "--data.color_jitter=0.4", "--data.random_erasing=0.5"]
DATA += ["--data.mixup=0.4", "--data.cutmix=1"]
FIT = ["fit", "--model=SmallNet", *DATA, "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1"]
FIT += ["--lr_schedule=Cosine", "--label_smoothing=0.1", "--trainer.enable_model_summary=false"]
MLP = ["fit", "--model=MLP", *DATA, "--trainer.max_epochs=2", "--trainer.enable_model_summary=false"]
STEPS = 15


@pytest.fixture(scope="module", autouse=True)
def _small_net(tmp_path_factory):
    """A package with a small model that has dropout and batch norm."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("small_zoo")
        plugins.install(patch, folder, plugins.SMALL, ["SmallNet"], "small-zoo")
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
        yield
    registry.entries.cache_clear()


def assert_same_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def signal_at(step: int, callback: str = "SignalAt", **options) -> str:
    init_args = json.dumps({"step": step, **options})
    return f'--trainer.callbacks=[{{"class_path": "tests.callbacks.{callback}", "init_args": {init_args}}}]'


def resume(run: Path | None = None) -> int:
    """Go on with a run, by default the newest, and name its callback again, which no folder of a run may name."""
    run = run or run_directory.newest(Path("runs"), lambda run: True)
    return cli.main(["fit", f"--resume={run}", f"--config={run}/config.yaml"])


def next_second() -> None:
    """Wait until the clock is in another second: TensorBoard reads the files of one second by their process numbers."""
    began = int(time.time())
    while int(time.time()) == began:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing cut short."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("whole")
        patch.chdir(folder)
        return folder / run_of(*FIT)


@pytest.fixture
def finished(whole):
    """A copy of it, in `runs` of the test's folder."""
    run = Path("runs") / whole.relative_to(whole.parent.parent)
    shutil.copytree(whole, run)
    return run


class TestStoppedBySignal:
    @pytest.mark.parametrize(
        ("at", "steps_done"),
        [
            ({"step": 1}, 2),  # in the middle of the first epoch, with no checkpoint so far
            ({"step": 7, "name": "SIGINT"}, 8),
            ({"step": 9}, 10),  # in the last step of an epoch
            ({"step": 10, "validating": True}, 10),
        ],
        ids=["first-epoch", "mid-epoch", "last-step", "validation"],
    )
    def test_goes_on_as_if_nothing_had_happened(self, whole, at, steps_done, capsys):
        number = {"SIGINT": 130}.get(at.get("name", ""), 143)
        run = run_of(*FIT, signal_at(**at), code=number)
        assert not (run / "metrics.json").exists()
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert f"after step {steps_done}: go on with: fit --resume" in error
        assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == steps_done

        assert resume() == 0
        assert_same_weights(weights(run), weights(whole))
        assert_same_weights(weights(run, "best"), weights(whole, "best"))
        assert rows(run) == rows(whole)
        assert scalars(run) == scalars(whole), "curves go on without a seam"
        expected, found = (json.loads((r / "metrics.json").read_text()) for r in (whole, run))
        for key in ("test/acc", "test/loss", "best_epoch", "epochs", "checkpoint", "val/acc"):
            assert found[key] == expected[key]

    def test_in_the_last_validation(self, whole, capsys):
        run = run_of(*FIT, signal_at(STEPS, validating=True), code=143)
        assert not (run / "metrics.json").exists(), "the test set is not used before the run goes on"
        assert resume(run) == 0
        assert_same_weights(weights(run), weights(whole))
        assert json.loads((run / "metrics.json").read_text())["epochs"] == 3

    def test_without_checkpoints_says_that_nothing_was_saved(self, capsys):
        run_of(*FIT, signal_at(1), "--trainer.enable_checkpointing=false", code=143)
        assert "nothing was saved" in capsys.readouterr().err

    def test_twice_stops_at_once(self):
        """The second Ctrl-C is not waited with; a process of its own, because it ends it."""
        twice = json.dumps([{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 1, "name": "SIGINT"}}] * 2)
        done = forked.run(*FIT, f"--trainer.callbacks={twice}")
        assert done.returncode == 130, done.stderr
        assert done.stderr.startswith("error: stopped by SIGINT at once: no checkpoint was saved yet"), done.stderr
        assert done.stderr.count("\n") == 1


class TestResume:
    def test_a_run_that_was_ended_before_its_first_checkpoint_starts_anew(self, whole):
        run = run_of(*FIT, signal_at(1), "--trainer.enable_checkpointing=false", code=143)
        config = (run / "config.yaml").read_text().replace("enable_checkpointing: false", "enable_checkpointing: true")
        (run / "config.yaml").write_text(config.replace("step: 1", "step: -1"))
        assert resume() == 0
        assert_same_weights(weights(run), weights(whole))
        assert rows(run) == rows(whole)
        assert scalars(run) == scalars(whole)

    def test_more_epochs(self, finished):
        """The files of the finished run are kept beside those of the longer one."""
        before = (finished / "metrics.json").read_bytes()
        assert cli.main(["fit", "--resume", "--trainer.max_epochs=4"]) == 0
        assert [row["epoch"] for row in rows(finished)] == ["1", "2", "3", "4"]
        assert json.loads((finished / "metrics.json").read_text())["epochs"] == 4
        assert (finished / "metrics_3_epochs.json").read_bytes() == before
        assert "max_epochs: 3" in (finished / "config_3_epochs.yaml").read_text()
        assert "max_epochs: 4" in (finished / "config.yaml").read_text()

    def test_a_finished_run_has_nothing_left(self, finished, capsys):
        for options in (["--resume"], ["--ckpt_path=last"], ["--resume", "--trainer.max_epochs=2"]):
            assert cli.main(["fit", *options]) == 2
            assert "has trained for 3 epochs" in capsys.readouterr().err
        assert len(list(Path("runs").glob("*/*"))) == 1

    def test_a_run_that_was_moved(self, whole):
        run = run_of(*FIT, signal_at(7), code=143)
        run.rename("moved")
        assert resume(Path("moved")) == 0
        assert_same_weights(weights(Path("moved")), weights(whole))
        assert_same_weights(weights(Path("moved"), "best"), weights(whole, "best"))

    def test_checkpoints_within_an_epoch(self, whole):
        """The last one is of the middle of an epoch where the process is killed."""
        code = "import cli, os, sys; from tests import callbacks as c; c.signal.raise_signal = lambda n: os._exit(9); "
        code += "cli.main(sys.argv[1:])"
        done = forked.run(*FIT, signal_at(8), "--save_every_n_steps=3", code=code)
        next_second()
        assert done.returncode == 9, done.stderr
        (run,) = Path("runs").glob("*/*")
        assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
        assert cli.main(["fit", "--resume", "--trainer.callbacks=null"]) == 0
        assert_same_weights(weights(run), weights(whole))
        assert rows(run) == rows(whole)
        assert scalars(run) == scalars(whole), "steps 7 and 8 are there once"


class TestFromACheckpoint:
    def test_a_new_run_from_the_last(self, whole):
        """It has a directory of its own, with the curves up to the checkpoint; the old run is left alone."""
        old = run_of(*FIT, signal_at(7), code=143)
        before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
        new = run_of("fit", "--ckpt_path=last")
        assert_same_weights(weights(new), weights(whole))
        assert rows(new) == rows(whole)
        assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
        assert (new / "checkpoints/best.ckpt").is_file()
        assert cli.main(["fit", "--resume", "--trainer.max_epochs=4"]) == 0
        assert len(rows(new)) == 4

    @pytest.mark.parametrize("which", ["best", "last", "file", "run"])
    def test_test_needs_no_config_and_no_model(self, finished, which, capsys):
        path = which
        if which == "file":
            path = str(shutil.copy(finished / "checkpoints/best.ckpt", "some.ckpt"))
        elif which == "run":
            path = str(finished)
        assert cli.main(["test", "--ckpt", path]) == 0
        (written,) = [*finished.glob("test/*/metrics.json"), *Path("test").glob("*/metrics.json")]
        found = json.loads(written.read_text())
        assert found["model"] == "SmallNet"
        assert found["test/images"] == 20
        if which != "last":
            assert found["test/loss"] == json.loads((finished / "metrics.json").read_text())["test/loss"]

    def test_of_the_named_model(self, finished):
        newer = run_of(*MLP)
        assert cli.main(["test", "--model=SmallNet", "--ckpt_path=best"]) == 0
        assert len(list(finished.glob("test/*/metrics.json"))) == 1
        assert cli.main(["test", "--ckpt_path=best"]) == 0
        assert len(list(newer.glob("test/*/metrics.json"))) == 1

    def test_the_command_line_wins_for_data_and_trainer(self, finished):
        assert cli.main(["test", "--ckpt_path=best", "--data.test_size=10"]) == 0
        (written,) = finished.glob("test/*/metrics.json")
        assert json.loads(written.read_text())["test/images"] == 10

    def test_a_checkpoint_from_python(self):
        import lightning as L

        from datamodules.cifar10 import CIFAR10DataModule
        from zoo.models.mlp import MLP

        data = CIFAR10DataModule(source="synthetic", task="binary", train_size=16, val_size=8, test_size=20)
        trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        trainer.fit(MLP(hidden_sizes=[8], num_classes=2), data)
        trainer.save_checkpoint("python.ckpt")
        assert cli.main(["test", "--ckpt_path=python.ckpt", "--data.test_size=20"]) == 0
        (written,) = Path("test").glob("*/metrics.json")
        assert set(json.loads(written.read_text())["test/acc_per_class"]) == {"disc", "not disc"}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--model=CNN"], ["zoo.models.cnn.CNN", "small_zoo.SmallNet"]),
            (["--config=cnn"], ["zoo.models.cnn.CNN", "small_zoo.SmallNet"]),
            (["--model.dropout=0.25"], ["--model.dropout=0.25", "has dropout 0.5"]),
            (["--data.task=binary"], ["--data.task asks for 2 classes", "num_classes 10"]),
        ],
    )
    @pytest.mark.parametrize("command", ["test", "fit"])
    def test_a_network_is_what_it_was_trained_as(self, finished, command, options, words, capsys):
        path = finished / "checkpoints/best.ckpt"
        assert cli.main([command, f"--ckpt_path={path}", "--trainer.max_epochs=9", *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        for word in words:
            assert word in error
        assert len(list(Path("runs").glob("*/*"))) == 1

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["fit", "--resume=runs/no"], ["runs/no", "there is no run"]),
            (["fit", "--resume=" + "x" * 5000], ["too long"]),
            (["fit", "--ckpt_path=" + "x" * 5000], ["too long"]),
            (["fit", "--ckpt_path"], ["needs a value"]),
            (["fit", "--ckpt"], ["needs a value"]),
            (["test", "--ckpt=folder"], ["folder", "no such file"]),
            (["fit", "--resume", "-c", "cnn"], ["no run in 'runs'"]),
            (["fit", "--resume", "--name=other"], ["leave out --name"]),
            (["fit", "--resume"], ["no run in 'runs'"]),
            (["test", "--resume"], ["takes --ckpt best"]),
            (["fit", "--resume", "--ckpt_path=last"], ["leave out --ckpt"]),
            (["test", "--ckpt_path=best"], ["best", "no run in 'runs'"]),
            (["test", "--ckpt_path=last", "--model=CNN"], ["last", "no run of CNN"]),
            ([*MLP, "--save_every_n_steps=0"], ["save_every_n_steps=0"]),
        ],
    )
    def test_nothing_to_go_on_from(self, options, words, capsys):
        assert cli.main(options) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        for word in words:
            assert word in error
        assert not list(Path().iterdir())


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """What a checkpoint of a small run holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("content"))
        run = run_of(*MLP, "--trainer.max_epochs=1")
        return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


class TestFromAStranger:
    def save(self, content: dict, path: str, value: object) -> None:
        """Save a copy of `content` in which the dotted `path` holds `value`, or is missing where that is ...."""
        copied = torch.load(_saved(content), weights_only=True)
        *above, last = path.split("/")
        place = copied
        for name in above:
            place = place[name]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        torch.save(copied, "theirs.ckpt")

    @pytest.mark.parametrize("command", ["test", "fit"])
    def test_no_code_is_called_and_no_place_is_taken_over(self, content, command):
        called = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "builtins.exit"}}
        trainer = content["config"]["trainer"] | {
            "callbacks": [called],
            "default_root_dir": "elsewhere",
            "max_epochs": 1,
        }
        config = content["config"] | {"trainer": trainer, "runs_dir": "elsewhere"}
        config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}
        self.save(content, "config", config)
        more = ["--trainer.max_epochs=2"] if command == "fit" else []
        assert cli.main([command, "--ckpt_path=theirs.ckpt", *more]) == 0
        assert not Path("elsewhere").exists()
        if command == "fit":
            (run,) = Path("runs").glob("*/*")
            assert "torch.optim.SGD" in (run / "config.yaml").read_text()

    @pytest.mark.parametrize("key", ["optimizer", "lr_schedule"])
    def test_a_class_that_only_a_training_needs(self, content, key, capsys):
        """A test does not look at it."""
        self.save(content, f"config/{key}", {"class_path": "this.Class"})
        assert cli.main(["fit", "--ckpt_path=theirs.ckpt", "--trainer.max_epochs=5"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert "this.Class" in error
        assert cli.main(["test", "--ckpt_path=theirs.ckpt"]) == 0

    @pytest.mark.parametrize("command", ["test", "fit"])
    @pytest.mark.parametrize(
        ("path", "value", "word"),
        [
            ("class_path", "this.Model", "this.Model"),
            ("class_path", "this.\x1b[31mModel", r"this.\x1b[31mModel"),  # which would color a terminal
            ("config", 5, "config"),
            ("config", [1], "config"),
            ("config/model", 5, "model"),
            ("config/data", [1], "data"),
            ("config/trainer", "x", "trainer"),
            ("hyper_parameters", [1], "no readable checkpoint"),
            ("hyper_parameters/hidden_sizes", [5], "net.1.weight"),
            ("hyper_parameters/nonsense", 5, "nonsense"),
            ("CIFAR10DataModule", "x", "how it was trained"),
            ("loops", {}, "no readable checkpoint"),
            ("state_dict", {}, "scale"),
            ("state_dict/net.1.weight", torch.zeros(3), "net.1.weight"),
            ("pytorch-lightning_version", ..., "no readable checkpoint"),
        ],
    )
    def test_nonsense(self, content, command, path, value, word, capsys):
        self.save(content, path, value)
        assert cli.main([command, "--ckpt_path=theirs.ckpt", "--trainer.max_epochs=5"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert word in error
        assert [p.name for p in Path().iterdir()] == ["theirs.ckpt"]
        assert "this" not in sys.modules

    @pytest.mark.parametrize(
        ("package", "shown"),
        [
            ("their-net", True),
            ("Their.Net_2", True),
            ("-r requirements.txt", False),
            ("their-net\n", False),
            ("git+https://their.place/net", False),
            ("x; rm file", False),
            ("\x1b[31mnet", False),
            ("K" + "\u212a", False),  # the sign of kelvin, a K to a comparison that ignores case
            ("x" * 200, False),
            (["their-net"], False),
            (5, False),
        ],
    )
    def test_the_package_that_a_model_came_with(self, content, package, shown, capsys):
        """It is named where it is a name, and nothing else is done with it."""
        self.save(content | {"package": package}, "class_path", "this.Model")
        assert cli.main(["test", "--ckpt_path=theirs.ckpt"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert "this.Model, which is not in the zoo: " in error
        assert (f"it came with the package '{package}'" in error) == shown
        assert ("package" in error) == shown
        assert "this" not in sys.modules

    def test_a_package_says_nothing_of_a_model_of_the_zoo(self, content):
        self.save(content, "package", "their-net")
        assert cli.main(["test", "--ckpt_path=theirs.ckpt"]) == 0

    def test_weights_only(self, content, capsys):
        self.save(content, "optimizer_states", ...)
        assert cli.main(["fit", "--ckpt_path=theirs.ckpt", "--trainer.max_epochs=5"]) == 2
        assert "weights only" in capsys.readouterr().err
        assert [p.name for p in Path().iterdir()] == ["theirs.ckpt"]

    @pytest.mark.parametrize("command", [["test"], ["fit", "--trainer.max_epochs=9"], ["predict", "--test_set"]])
    def test_what_it_names_is_not_imported(self, content, command, capsys):
        """Not even to see whether it is what the command line names."""
        Path("evil.py").write_text("open('it-ran', 'w')")
        self.save(content, "class_path", "evil.MLP")
        assert cli.main([*command, "--model=MLP", "--ckpt=theirs.ckpt"]) == 2
        assert "evil.MLP" in capsys.readouterr().err
        assert not Path("it-ran").exists()
        assert "evil" not in sys.modules

    @pytest.mark.parametrize("command", [["test"], ["fit", "--trainer.max_epochs=9"], ["predict", "--test_set"]])
    def test_it_neither_names_a_place_to_download_to_nor_forbids_it(self, content, command, monkeypatch):
        Path("theirs").mkdir()
        state = content["CIFAR10DataModule"] | {"class_names": list(CIFAR10.class_names)}
        content = content | {"CIFAR10DataModule": state}
        data = {"source": "cifar10", "task": "multiclass", "data_dir": "theirs", "download": False}
        data["val_size"] = "many"  # with which no data module can be built, until the command line says another
        self.save(content, "config/data", data)
        asked: list[str] = []

        def fetch(data_set, data_dir, *args, **options):
            asked.append(str(data_dir))
            raise InputError("no network")

        monkeypatch.setattr("datamodules.image_data_module.fetch", fetch)
        sizes = [] if command[0] == "predict" else ["--data.val_size=4"]
        assert cli.main([*command, *sizes, "--ckpt=theirs.ckpt"]) == 2
        assert asked == ([] if command[0] == "predict" else ["data"])

    @pytest.mark.parametrize("command", [["test"], ["predict", "a.png"], ["export", "--format=npz"]])
    @pytest.mark.parametrize(
        ("path", "value", "word"),
        [
            ("config/data/task", "binary", "classes"),
            ("config/data/task", ["multiclass"], "its data.task is ['multiclass']"),
            ("config/data/source", "\x1b[31m\nnote: all is well", "its data.source is"),
        ],
    )
    def test_nonsense_of_its_data(self, content, path, value, word, command, capsys):
        Image.new("RGB", (32, 32)).save("a.png")
        self.save(content, path, value)
        assert cli.main([*command, "--ckpt=theirs.ckpt"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert word in line
        assert "\x1b" not in line

    @pytest.mark.parametrize("data", [{}, {"data_dir": 5}, {"data_dir": "x" * 5000}, ...])
    def test_what_it_does_not_say_is_as_usual(self, content, data):
        self.save(content, "config/data", data)
        Image.new("RGB", (32, 32)).save("a.png")
        assert cli.main(["predict", "a.png", "--ckpt=theirs.ckpt"]) == 0

    def test_of_another_machine(self, content):
        self.save(content, "config/data/data_dir", "/a/place/that/is/not/here")
        assert cli.main(["test", "--ckpt_path=theirs.ckpt"]) == 0


def _saved(content: dict) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    return buffer


class TestOptimizer:
    def rates(self, run: Path) -> list[float]:
        return [value for _, value in scalars(run)["batch/lr"]]

    def test_another_learning_rate_wins(self):
        run_of(*MLP, "--trainer.log_every_n_steps=1", "--trainer.max_epochs=1", "--optimizer.lr=0.1")
        new = run_of("fit", "--ckpt_path=last", "--trainer.max_epochs=2", "--optimizer.lr=0.01")
        assert self.rates(new) == pytest.approx([0.01] * 5)
        group = torch.load(new / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
        assert group["initial_lr"] == 0.01

    def test_the_momentum_is_kept(self):
        """With a learning rate of 0 nothing but the state of the optimizer can change."""
        old = run_of(*MLP, "--trainer.max_epochs=1")
        new = run_of("fit", "--ckpt_path=last", "--trainer.max_epochs=2", "--optimizer.lr=0")
        steps = [
            torch.load(run / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["state"][0]["step"]
            for run in (old, new)
        ]
        assert [step.item() for step in steps] == [5, 10]

    def test_another_optimizer_starts_anew(self):
        run_of(*MLP, "--trainer.max_epochs=1")
        new = run_of("fit", "--ckpt_path=last", "--trainer.max_epochs=2", "--optimizer=SGD", "--optimizer.momentum=0.9")
        state = torch.load(new / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
        assert set(state["state"][0]) == {"momentum_buffer"}
        assert state["param_groups"][0]["momentum"] == 0.9

    @pytest.mark.parametrize(("before", "after"), [("AdamW", "MuonSGD"), ("MuonSGD", "AdamW")])
    def test_another_number_of_groups(self, before, after):
        """MuonSGD has a group for each role, of which MLP has two. All rates are those of a run that always had it."""
        command = [*MLP, "--trainer.log_every_n_steps=1"]
        options = [f"--optimizer={after}", "--lr_schedule=Linear", "--lr_schedule.final=0.5"]
        run_of(*command, "--trainer.max_epochs=1", f"--optimizer={before}")
        new = run_of("fit", "--ckpt_path=last", "--trainer.max_epochs=2", *options)
        expected = run_of(*command, *options)
        assert self.rates(new) == self.rates(expected)[5:]
        ours, theirs = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (new, expected))
        assert ours["optimizer_states"][0]["param_groups"] == theirs["optimizer_states"][0]["param_groups"]
        assert ours["lr_schedulers"] == theirs["lr_schedulers"]

    def test_another_batch_size_waits_for_the_end_of_the_epoch(self, whole, capsys):
        run = run_of(*FIT, signal_at(7), code=143)
        before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
        capsys.readouterr()
        for command in (["--resume", f"--config={run}/config.yaml"], ["--ckpt_path=last"]):
            assert cli.main(["fit", *command, "--data.batch_size=4"]) == 2
            assert "batch_size 8, and cannot go on with 4" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before
        assert resume() == 0, "a refused one does no harm"
        assert_same_weights(weights(run), weights(whole))


class TestAveragedWeights:
    """Lightning's callback that copies the model."""

    @pytest.mark.parametrize("model", ["NumPyMLP", "MLP"])
    def test_are_learnt_resumed_and_tested(self, model, capsys):
        path = '{"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}}'
        command = ["fit", f"--model={model}", *DATA, "--trainer.enable_model_summary=false"]
        command.append(f"--trainer.callbacks=[{path}]")
        whole = run_of(*command, "--trainer.max_epochs=4")
        run = run_of(*command, "--trainer.max_epochs=2")
        assert cli.main(["fit", "--resume", str(run), "--trainer.max_epochs=4"]) == 0
        assert_same_weights(weights(run), weights(whole))
        latest = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)["current_model_state"]
        assert any(not torch.equal(weight, latest[name]) for name, weight in weights(whole).items())
        assert cli.main(["test", "--ckpt", str(run)]) == 0
        assert "sharding" not in capsys.readouterr().err


class TestNotFinite:
    def poison(self, step: int) -> str:
        callback = {"class_path": "tests.callbacks.PoisonAt", "init_args": {"step": step}}
        return f"--trainer.callbacks={json.dumps([callback])}"

    def test_the_run_ends_and_the_last_good_checkpoint_stays(self, capsys):
        run = run_of(*MLP, self.poison(7), "--trainer.max_epochs=3", code=1)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        for word in ("step 10", "epoch 2", "learning rate of 0.001", "last.ckpt"):
            assert word in error
        assert all(value.isfinite().all() for value in weights(run).values())
        assert checkpoints.epochs_done(checkpoints.read(run / "checkpoints/last.ckpt")) == 1
        assert not (run / "metrics.json").exists()

    def test_is_noticed_within_50_steps(self, capsys):
        run_of(*MLP, self.poison(10), "--data.train_size=120", "--data.batch_size=1", code=1)
        assert "after step 50 (epoch 1)" in capsys.readouterr().err

    def test_weights_are_looked_at_before_a_checkpoint(self, capsys):
        """The last step of an epoch spoils them: no loss tells."""
        run = run_of(*MLP, self.poison(5), code=1)
        assert "weights" in capsys.readouterr().err
        assert not list(run.glob("checkpoints/*"))

    def test_a_mid_epoch_checkpoint_is_spared_too(self):
        run = run_of(*MLP, self.poison(2), "--save_every_n_steps=1", code=1)
        content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
        assert content["global_step"] == 1
        assert all(value.isfinite().all() for value in content["state_dict"].values())

    def test_a_learning_rate_out_of_this_world(self, capsys):
        run_of(*MLP, "--optimizer=SGD", "--optimizer.lr=1e30", code=1)
        assert "no checkpoint was saved yet" in capsys.readouterr().err


def test_the_last_checkpoint_is_of_the_last_epoch():
    """Of the best one, too, it tells, where no later epoch was better."""
    run = run_of(*MLP, "--optimizer.lr=0", "--trainer.max_epochs=3")
    done = [checkpoints.epochs_done(checkpoints.read(run / f"checkpoints/{name}.ckpt")) for name in ("best", "last")]
    assert done == [1, 3]


def test_validation_within_epochs(whole):
    """A checkpoint that is due just before a validation is saved after it, which is not left out then."""
    command = [*FIT, "--trainer.val_check_interval=2"]
    expected = run_of(*command)
    run = run_of(*command, signal_at(8, name="SIGINT"), code=130)  # after the fourth step of the second epoch
    assert resume() == 0
    assert_same_weights(weights(run), weights(expected))
    assert rows(run) == rows(expected)
    assert scalars(run) == scalars(expected)


def test_accumulated_gradients(whole):
    command = [*FIT, "--trainer.accumulate_grad_batches=2"]
    expected, run = run_of(*command), run_of(*command, signal_at(4), code=143)
    assert resume() == 0
    assert_same_weights(weights(run), weights(expected))
    assert rows(run) == rows(expected)


def test_a_folder_of_runs_stands_for_the_newest_with_a_checkpoint(whole):
    newest = run_of(*FIT)
    (newest.parent / "2999-01-01_00-00-00").mkdir()
    shutil.copy(newest / "config.yaml", newest.parent / "2999-01-01_00-00-00")
    for folder in ("runs", newest.parent):
        path = resumption.checkpoint_origin(str(folder), Path("runs")).path
        assert path.resolve() == newest / "checkpoints" / "best.ckpt"


def test_overfitted_batches():
    command = [*MLP, "--trainer.overfit_batches=4"]
    expected, run = run_of(*command), run_of(*command, signal_at(5), code=143)
    assert resume() == 0
    assert_same_weights(weights(run), weights(expected))


def test_a_run_from_a_checkpoint_that_had_none_of_its_own_yet(whole):
    run_of(*FIT, signal_at(7), code=143)
    new = run_of("fit", "--ckpt_path=last", signal_at(9), "--trainer.enable_checkpointing=false", code=143)
    config = (new / "config.yaml").read_text().replace("enable_checkpointing: false", "enable_checkpointing: true")
    (new / "config.yaml").write_text(config.replace("step: 9", "step: -1"))
    assert resume() == 0
    assert rows(new) == rows(whole)
    assert_same_weights(weights(new), weights(whole))


def test_the_best_epoch_of_a_new_run_is_its_own():
    run_of(*MLP, "--optimizer.lr=0", "--trainer.max_epochs=1")
    new = run_of("fit", "--ckpt_path=last", "--trainer.max_epochs=3")
    assert json.loads((new / "metrics.json").read_text())["best_epoch"] == 2


def test_longer_and_cut_short_in_the_last_validation():
    """The results of the shorter run do not stand for those of the longer one."""
    run = run_of(*MLP, "--trainer.max_epochs=1")
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2", signal_at(10, validating=True)]) == 143
    assert not (run / "metrics.json").exists()
    assert resume() == 0
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 2
    assert json.loads((run / "metrics_1_epochs.json").read_text())["epochs"] == 1


def test_a_run_is_trained_by_one_process(finished, capsys):
    held = run_directory.lock(finished)
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=4"]) == 2
    assert "another process" in capsys.readouterr().err
    held.release()


def test_with_max_steps(whole):
    run = run_of(*FIT, "--trainer.max_steps=12", signal_at(7), code=143)
    assert resume() == 0
    again = run_of(*FIT, "--trainer.max_steps=12")
    assert_same_weights(weights(run), weights(again))
    assert rows(run) == rows(again)
    run = run_of(*FIT, "--trainer.max_steps=12", signal_at(10, validating=True), code=143)
    assert resume() == 0
    assert_same_weights(weights(run), weights(again))
    assert rows(run) == rows(again)
    assert scalars(run) == scalars(again)


def test_early_stopping_goes_on_counting(capsys):
    run = run_of(*MLP, "--trainer.max_epochs=9", "--early_stopping=2", "--optimizer.lr=0", signal_at(7), code=143)
    assert resume() == 0
    assert len(rows(run)) == 3
    assert resume() == 2, "it is finished"
    new = run_of("fit", "--ckpt_path=best", "--early_stopping=3")
    assert len(rows(new)) == 4


NUMPY = ["fit", "--model=NumPyMLP", "--model.hidden_sizes=[6]", *DATA, "--trainer.max_epochs=3"]
NUMPY += ["--trainer.log_every_n_steps=2", "--lr_schedule=Cosine", "--label_smoothing=0.1"]
NUMPY += ["--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module", params=["NumPyMomentum", "NumPyAdam"])
def numpy_run(request, tmp_path_factory):
    """A command, and its run that nothing cut short."""
    command = [*NUMPY, f"--optimizer={request.param}", "--optimizer.lr=0.002"]
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("numpy")
        patch.chdir(folder)
        return command, folder / run_of(*command)


class TestNumPyModels:
    """They make several steps in a call, and are stopped between two calls."""

    def assert_goes_on(self, run: Path, expected: Path) -> None:
        assert not (run / "metrics.json").exists()
        assert resume() == 0
        assert_same_weights(weights(run), weights(expected))
        assert_same_weights(weights(run, "best"), weights(expected, "best"))
        assert rows(run) == rows(expected)
        assert scalars(run) == scalars(expected)
        ours, theirs = (checkpoints.read(r / "checkpoints/last.ckpt")["optimizer_states"][0] for r in (run, expected))
        assert ours["param_groups"] == theirs["param_groups"]
        for slots, slots_expected in zip(ours["state"].values(), theirs["state"].values(), strict=True):
            assert slots.pop("step") == slots_expected.pop("step")
            assert_same_weights(slots, slots_expected)

    @pytest.mark.parametrize(
        "at",
        [
            {"step": 3},
            {"step": 8, "name": "SIGINT"},
            {"step": 8, "every_n_steps": 4},
            {"step": 10},
            {"step": 10, "every_n_steps": 10},
        ],
        ids=lambda at: "-".join(map(str, at.values())),
    )
    def test_go_on_as_if_nothing_had_happened(self, numpy_run, at, capsys):
        command, expected = numpy_run
        code = 130 if "name" in at else 143
        run = run_of(*command, signal_at(callback="SignalAfter", **at), code=code)
        assert f"after step {at['step']}: go on with" in capsys.readouterr().err
        assert checkpoints.read(run / "checkpoints/last.ckpt")["global_step"] == at["step"]
        self.assert_goes_on(run, expected)

    def test_a_signal_within_a_call_waits_for_its_end(self, monkeypatch, capsys):
        """The 36 steps of an epoch are two calls or three: they end with its end, and with every 25th step of all."""
        command = [*NUMPY, "--data.batch_size=1", "--trainer.log_every_n_steps=50", "--optimizer.lr=0.0005"]
        expected, steps, learn = run_of(*command), [], NumPyMLP.learn

        def learn_and_signal(self, *args):
            steps.append(None)
            if len(steps) == 40:
                signal.raise_signal(signal.SIGTERM)
            return learn(self, *args)

        monkeypatch.setattr(NumPyMLP, "learn", learn_and_signal)
        run = run_of(*command, code=143)
        assert "after step 50: go on with" in capsys.readouterr().err
        assert len(steps) == 50
        self.assert_goes_on(run, expected)

    def test_with_max_steps_and_validations_within_epochs(self, capsys):
        command = [*NUMPY, "--trainer.max_steps=12", "--trainer.val_check_interval=3", "--optimizer.lr=0.002"]
        expected = run_of(*command)
        run = run_of(*command, signal_at(8, "SignalAfter", every_n_steps=2), code=143)
        assert "after step 8: go on with" in capsys.readouterr().err
        self.assert_goes_on(run, expected)


class TestFiles:
    def test_a_failed_write_leaves_what_was_there(self, monkeypatch):
        path = Path("file")
        files.write(path, b"old")
        monkeypatch.setattr(files.os, "fsync", lambda number: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            files.write(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in Path().iterdir()] == ["file"]

    @pytest.mark.parametrize("megabytes", [5, 2, 0])
    def test_a_disk_that_fills_up(self, megabytes, capsys):
        """With the third checkpoint beside the best and the last (2.4 MB each), with the first, with anything."""
        Path("runs").mkdir()
        size = f"size={megabytes}m" if megabytes else "size=4k"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", "runs"], capture_output=True)
        if mounted.returncode != 0:
            pytest.skip("no disk of its own can be mounted here")
        try:
            assert cli.main([*MLP, "--trainer.logger=false"]) == 1
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert "No space left on device" in error
            (run,) = Path("runs").glob("*/*")
            for path in run.glob("checkpoints/*"):
                assert path.suffix == ".ckpt"
                checkpoints.read(path)
        finally:
            subprocess.run(["umount", "runs"], check=True)
