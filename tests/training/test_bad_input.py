"""Bad input: one line, exit code 2, no traceback, nothing written."""

import http.client
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import cli
from datamodules.data_sets import CIFAR10
from tests.helpers import Malicious, batch_file, contents, write_pickle

TINY = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=20", "--data.test_size=20"]
BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 25))
LOOKAHEAD = "zoo.training.callbacks.lookahead.Lookahead"
FILES = {
    "bomb.yaml": BOMB,
    "unknown_key.yaml": "model: CNN\ntrainer:\n  max_epoch: 3\n",
    "unknown_section.yaml": "model: CNN\ntrainr:\n  max_epochs: 3\n",
    "modell.yaml": "modell: CNN\n",
    "empty.yaml": "",
    "null.yaml": "model: CNN\ndata: {batch_size: null, source: synthetic}\n",
    "unknown_argument.yaml": "model:\n  class_path: ImprovedCNN\n  init_args:\n    dropuot: 0.3\n",
    "no_class.yaml": "model:\n  init_args:\n    dropout: 0.3\n",
    "malformed.yaml": "model: [CNN\n",
    "wrong_type.yaml": "model: CNN\ndata:\n  batch_size: many\n",
    "list.yaml": "- 1\n",
    "section.yaml": "model: CNN\ntrainer: [1]\n",
    "arguments.yaml": "model: {class_path: CNN, init_args: [1]}\n",
    "number_key.yaml": "model: {class_path: CNN, init_args: {1: 2}}\n",
    "twice.yaml": "model: CNN\ntrainer: {max_epochs: 1}\ntrainer: {precision: 32}\n",
    "tag.yaml": "model: CNN\ndata: !!set {x, y}\n",
    "loop.yaml": "model: CNN\ndata: &x {batch_size: *x}\n",
    "python.yaml": "model: !!python/object/apply:os.system [ls]\n",
    "deep.yaml": "data: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n",
    "deep_list.yaml": "name: " + "[" * 5000 + "]" * 5000 + "\n",
    "levels.yaml": "data: " + "[" * 150 + "]" * 150 + "\n",
    "digits.yaml": f"data: {{batch_size: {'9' * 5000}}}\n",
    "large.yaml": "model: CNN\ndata: {batch_size: 1180591620717411303424}\n",
    "nan.yaml": "model: CNN\noptimizer: {class_path: torch.optim.SGD, init_args: {lr: .nan}}\n",
    "null_character.yaml": 'model: CNN\nname: "a\\0b"\n',
    "beside.yaml": "model: CNN\noptimizer: {class_path: SGD, init_args: {lr: 0.1}, momentum: 0.9}\n",
    "beside_callback.yaml": f"trainer: {{callbacks: [{{class_path: {LOOKAHEAD}, keep: 0.5}}]}}\n",
}
for name, callback in {
    "callback.yaml": "class_path: zoo.training.callbacks.lookahead.Lookahed",
    "callback_argument.yaml": "class_path: zoo.training.callbacks.lookahead.Lookahead, init_args: {every_n_step: 3}",
}.items():
    FILES[name] = f"model: CNN\ntrainer:\n  callbacks+: [{{{callback}}}]\n"
LONG = "x" * 300

# Command line -> what its message must contain: the culprit, and the way out where one can be told.
CASES = {
    "fti": ["unknown command 'fti'", "Did you mean 'fit'?"],
    "fit": ["fit needs a model", "improved_cnn", "ImprovedCNN"],
    "fit --model CNM": ["unknown model 'CNM'", "Did you mean 'CNN'?"],
    "fit --model=improvedcnn": ["unknown model 'improvedcnn'", "Did you mean 'ImprovedCNN'?"],
    "fit --model zoo.models.cnn.CN": ["'zoo.models.cnn.CN' cannot be loaded"],
    "fit --model torch.nn.Linear": ["'torch.nn.Linear' is not a subclass of zoo.core.classifier.Classifier"],
    "fit --model CNN --trainer.max_epoch 3": ["'trainer.max_epoch'", "Did you mean 'trainer.max_epochs'?"],
    "fit --model CNN --data.sourse synthetic": ["'data.sourse'", "Did you mean 'data.source'?"],
    "fit --model CNN stray": ["'stray' is not an option"],
    "fit cnn": ["'cnn' is not an option", "Did you mean '--config cnn'?"],
    "fit CNN": ["'CNN' is not an option", "Did you mean '--model CNN'?"],
    "fit --help trainr": ["--help trainr", "Did you mean 'trainer'?"],
    "fit --config modell.yaml": ["unknown option 'modell' (in modell.yaml)", "Did you mean 'model'?"],
    "fit --config empty.yaml": ["fit needs a model, and empty.yaml names none"],
    "fit --config null.yaml": ["--data.batch_size=null", "128"],
    "fit --model their.net.Net": ["'their.net.Net' cannot be loaded", "install its package"],
    "fit --model CNN --data.source=synthetic --data.train_size=5 --data.val_size=999999": [
        "--data.val_size ask for",
        "200,000 at the most",
    ],
    "fit --model CNN --trainer.devices 99999": ["--trainer.devices=99999 is a process each on"],
    "fit --model ImprovedCNN --model.dropuot 0.1": ["no argument 'dropuot'", "Did you mean 'dropout'?"],
    "fit --model ImprovedCNN --model.dropout abc": ["--model.dropout=abc", "a number"],
    "fit --model ImprovedCNN --model.dropout 1.5": ["--model.dropout=1.5", "out of range"],
    "fit --model MLP --model.hidden_sizes [0]": ["--model.hidden_sizes=[0]"],
    "fit --config unknown_key.yaml": ["'trainer.max_epoch'", "unknown_key.yaml", "Did you mean 'trainer.max_epochs'?"],
    "fit --config unknown_section.yaml": ["'trainr'", "unknown_section.yaml", "Did you mean 'trainer'?"],
    "fit --config unknown_argument.yaml": ["'dropuot'", "unknown_argument.yaml", "Did you mean 'dropout'?"],
    "fit --config no_class.yaml": ["model", "no_class.yaml", "class_path"],
    "fit --config malformed.yaml": ["'malformed.yaml' is not valid YAML in line 2"],
    "fit --config list.yaml": ["'list.yaml' holds a list"],
    "fit --config wrong_type.yaml": ["--data.batch_size=many", "wrong_type.yaml", "a whole number"],
    "fit --config section.yaml": ["section.yaml", "trainer is [1]"],
    "fit --config arguments.yaml": ["arguments.yaml", "init_args of model is [1]"],
    "fit --config number_key.yaml": ["number_key.yaml", "key 1 is not a name"],
    "fit --config twice.yaml": ["twice.yaml", "line 3", "'trainer' stands twice"],
    "fit --config tag.yaml": ["tag.yaml", "set"],
    "fit --config loop.yaml": ["loop.yaml"],
    "fit --config python.yaml": ["python.yaml", "python/object"],
    f"fit --config {LONG}": ["--config xxx"],
    "fit --config deep.yaml": ["'deep.yaml' has more than 100 levels"],
    "fit --config deep_list.yaml": ["'deep_list.yaml' has more than 100 levels"],
    "fit --config levels.yaml": ["'levels.yaml' has more than 100 levels"],
    "fit --config digits.yaml": ["'digits.yaml' cannot be read", "5000 digits"],
    "fit --config large.yaml": ["data.batch_size is an integer of more than 64 bits"],
    "fit --config nan.yaml": ["'nan.yaml': optimizer.init_args.lr is NaN"],
    "fit --config null_character.yaml": ["name has a null character", r"a\x00b"],
    "fit --config beside.yaml": ["'momentum' stands beside a class_path: put it into init_args"],
    "fit --config beside_callback.yaml": ["'keep' stands beside a class_path: put it into init_args"],
    "config --check deep.yaml": ["'deep.yaml' has more than 100 levels"],
    "config --check list.yaml --out x.yaml": ["--check takes a config alone"],
    "fit --model CNN --optimizer {class_path:SGD": ["--optimizer is not valid YAML"],
    'fit --model CNN --optimizer={"class_path":"SGD","lr":0.1}': ["--optimizer: 'lr' stands beside a class_path"],
    'fit --config mlp --optimizer={"class_path":"SGD","init_args":{"lr":"abc"}}': [
        "--optimizer.lr=abc: expected a number"
    ],
    'fit --model CNN --trainer.callbacks=[{"class_path":"lightning.pytorch.callbacks.EarlyStopping"}]': [
        "EarlyStopping needs a value for monitor: give it in its init_args"
    ],
    f"fit --model CNN --name {'n' * 300}": ["--name=nnn", "is too long for a folder: give at most 200 bytes"],
    f"data show --source synthetic --out {'x' * 300}.png": ["a name is too long for the file system: xxx"],
    'fit --model={"class_path":"CNM"}': ["unknown model 'CNM'", "Did you mean 'CNN'?"],
    'fit --model CNN --optimizer={"class_path":"SGD","init_args":{"lrr":1}}': ["'lrr'", "Did you mean 'lr'?"],
    'fit --model CNN --trainer.callbacks=[{"class_path":"zoo.training.callbacks.lookahead.Lookahead","keep":1}]': [
        "error: 'keep' stands beside a class_path: put it into init_args"
    ],
    'fit --model CNN --trainer.callbacks=[{"class_path":"lightning.pytorch.callbacks.EarlyStopping",'
    '"init_args":{"monitor":"x","mode":"y"}}]': ["error: EarlyStopping: `mode` can be min, max, got y\n"],
    "fit --model MLP --model.hidden_sizes [1125899906842624]": ["error: MLP: Storage size calculation overflowed"],
    "fit --model CNN --data.batch_size 1180591620717411303424": ["data.batch_size", "more than 64 bits"],
    "fit --model CNN --trainer.max_steps 1180591620717411303424": ["trainer.max_steps", "more than 64 bits"],
    "fit --model CNN --optimizer.lr .nan": ["optimizer.init_args.lr is NaN"],
    "fit --model CNN --optimizer.lr .inf": ["optimizer.init_args.lr is infinite"],
    "fit --model CNN --trainer.limit_train_batches .nan": ["trainer.limit_train_batches is NaN"],
    f"fit --model CNN --seed_everything {'9' * 5000}": ["--seed_everything=9999", "from 0 to 4294967295"],
    f"fit --model CNN --optimizer.lr {'x' * 100_000}": ["--optimizer.lr=xxxx", " ... ", "xxxx: expected a number"],
    "fit --config nowhere.yaml": ["nowhere.yaml", "is no file"],
    "fit --config improved_cn": ["improved_cn", "Did you mean 'improved_cnn'?"],
    "fit --config": ["--config needs a file"],
    "fit --config .": ["--config . is a folder"],
    "fit --model CNN --data.batch_size many": ["--data.batch_size=many", "a whole number"],
    "fit --model CNN --data.batch_size 1.5": ["--data.batch_size=1.5"],
    "fit --model CNN --data.batch_size 0": ["--data.batch_size=0", "at least 1"],
    "fit --model CNN --data.crop_padding 40": ["--data.crop_padding=40", "from 0 to 16"],
    "fit --model CNN --data.source cifar10 --data.mirrors [a.b/c]": ["mirror 'a.b/c'", "https://"],
    "fit --model CNN --data.source synthetc": [
        "--data.source=synthetc",
        "'cifar10', 'synthetic'. Did you mean 'synthetic'?",
    ],
    "fit --model CNN --data.source nowhere": ["expected one of 'cifar10', 'synthetic'\n"],
    "fit --model CNN --data.crop_border refelct": ["--data.crop_border=refelct", "Did you mean 'reflect'?"],
    "fit --model CNN --data.policy randaugmnt": ["--data.policy=randaugmnt", "Did you mean 'randaugment'?"],
    "fit --model CNN --data.random_erasing 2": ["--data.random_erasing=2", "from 0 to 1"],
    "fit --model CNN --data.label_noise 2": ["--data.label_noise=2", "from 0 to 1"],
    "fit --model CNN --data.imbalance 0": ["--data.imbalance=0", "from 1 to"],
    "fit --model CNN --data.horizontal_flip alternate": [
        "--data.horizontal_flip=alternate: expected true or false or 'alternating'. Did you mean 'alternating'?"
    ],
    "fit --model CNN --optimizer SDG": ["unknown optimizer 'SDG'", "Did you mean 'SGD'?"],
    "fit --model CNN --optimizer zoo.core.torch_optimizers.MuonSDG": [
        "no attribute 'MuonSDG'. Did you mean 'zoo.core.torch_optimizers.MuonSGD'?"
    ],
    "fit --model CNN --optimizer MuonSGD --optimizer.momentum 5": ["--optimizer: momentum=5.0", "not including, 1"],
    "fit --model CNN --optimizer DecoupledSGD --optimizer.lr -1": ["--optimizer: lr=-1.0", "at least 0"],
    "fit --model CNN --optimizer SGD --optimizer.lr -1": ["--optimizer: Invalid learning rate: -1"],
    "fit --model CNN --optimizer.lr nan": ["--optimizer.lr=nan: expected a number"],
    "fit --model MLP --model.hidden_sizes 64": ["--model.hidden_sizes=64: expected a list"],
    "fit --model MLP --model.hidden_sizes [a]": ["--model.hidden_sizes=['a']: expected a whole number"],
    "fit --config callback.yaml": [
        "--trainer.callbacks (in callback.yaml): 'zoo.training.callbacks.lookahead.Lookahed' cannot be loaded",
        f"has no attribute 'Lookahed'. Did you mean '{LOOKAHEAD}'?",
    ],
    "fit --config callback_argument.yaml": [
        "Lookahead has no argument 'every_n_step' (in callback_argument.yaml). Did you mean 'every_n_steps'?"
    ],
    'fit --model CNN --trainer.callbacks=[{"class_path":"zoo.training.callbacks.lookahead.Lookahed"}]': [
        "error: --trainer.callbacks: 'zoo.training.callbacks.lookahead.Lookahed' cannot be loaded",
        f"has no attribute 'Lookahed'. Did you mean '{LOOKAHEAD}'?",
    ],
    "fit --model CNN --trainer.callbacks+=zoo.training.callbacks.lookahed.Lokahead": [f"Did you mean '{LOOKAHEAD}'?"],
    "fit --model CNN --trainer.callbacks+=nowhere.Lookahead": [
        "'nowhere.Lookahead' cannot be loaded",
        "No module named",
    ],
    "fit --model CNN --trainer.callbacks=Lookahed": ["the dotted path of a class"],
    "fit --model CNN --trainer.callbacks=torch.nn.Linear": ["torch.nn.Linear: expected", "a subclass of Callback"],
    f"fit --model CNN --trainer.callbacks={LOOKAHEAD} --trainer.callbacks.every_n_step=3": [
        "error: Lookahead has no argument 'every_n_step'. Did you mean 'every_n_steps'? It has: every_n_steps, keep"
    ],
    f"fit --model CNN --trainer.callbacks={LOOKAHEAD} --trainer.callbacks.every_n_steps=x": [
        "error: Lookahead: every_n_steps=x: expected a whole number"
    ],
    "fit --model CNN --trainer.nope 3": ["unknown option 'trainer.nope'."],
    "fit --model CNN --trainer.precision 17": ["--trainer.precision=17", "bf16-mixed"],
    "fit --model CNN --trainer.gradient_clip_val -1": ["--trainer.gradient_clip_val=-1", "at least 0"],
    "fit --model CNN --optimizer.lr fast": ["--optimizer.lr=fast", "a number"],
    "fit --model CNN --optimizer SGD --optimizer.momentun .9": ["'momentun'", "Did you mean 'momentum'?"],
    "fit --model CNN --lr_schedule Cosin": ["unknown lr_schedule 'Cosin'", "Did you mean 'Cosine'?"],
    "fit --model CNN --lr_schedule zoo.core.schedules.Cosin": ["Did you mean 'zoo.core.schedules.Cosine'?"],
    "fit --model CNN --lr_schedule Step --lr_schedule.factor .inf": ["--lr_schedule.factor=inf", "at least 0"],
    "fit --model CNN --lr_schedule Cosine --lr_schedule.warmup 3": ["--lr_schedule.warmup=3", "from 0 to 1"],
    "fit --model CNN --trainer.max_epochs ten": ["--trainer.max_epochs=ten", "a whole number"],
    "fit --model CNN --trainer.max_epochs -5": ["--trainer.max_epochs=-5", "at least 0"],
    "fit --model CNN --trainer.accelerator cpu --trainer.devices 0": ["--trainer.devices=0", "at least 1"],
    "fit --model CNN --trainer.limit_train_batches -3": ["--trainer.limit_train_batches=-3", "[0.0, 1.0]"],
    "fit --model NumPyMLP --compile true": ["--compile=true: NumPyMLP has no", "leave --compile out"],
    "fit --model CNN --compile maybe": ["--compile=maybe", "true or false"],
    "fit --model CNN --early_stopping 0": ["--early_stopping=0", "at least 1"],
    "fit --model CNN --early_stopping 3 --data.val_size 0": ["--early_stopping", "val_size"],
    "fit --model CNN --seed_everything abc": ["--seed_everything=abc"],
    "fit --model CNN --name a/b": ["--name=a/b"],
    "fit --model CNN --name ..": ["--name=.."],
    "fit --model CNN --name=": ["--name="],
    "fit --model CNN --model.num_classes 5": ["--model.num_classes", "follows from the data"],
    "fit --model zoo.core.classifier.Classifier": ["'zoo.core.classifier.Classifier' is abstract"],
    "fit --model CNN --trainer.strategy foo": ["--trainer.strategy=foo"],
    "fit --model CNN --trainer.accelerator tpux": ["--trainer.accelerator=tpux", "Did you mean 'tpu'?"],
    "fit --model CNN --trainer.num_nodes 0": ["--trainer.num_nodes=0"],
    "fit --model CNN --trainer.accelerator cpu --trainer.devices a,b": ["--trainer.devices=a,b"],
    "fit --model CNN --trainer.accumulate_grad_batches 0": ["--trainer.accumulate_grad_batches=0"],
    "fit --model CNN --trainer.check_val_every_n_epoch 0": ["--trainer.check_val_every_n_epoch=0"],
    "fit --model CNN --trainer.val_check_interval 50": ["--trainer.val_check_interval=50", "1 batches"],
    "fit --model CNN --seed_everything -1": ["--seed_everything=-1", "from 0 to"],
    "fit --model CNN --lr_schedule Cosine --trainer.max_epochs -1": ["--lr_schedule", "--trainer.max_epochs"],
    "fit --model ImprovedCNN --data.train_size 65 --data.batch_size 16": ["last batch of one", "--data.drop_last=true"],
    "fit --model CNN --data.drop_last true": ["less than a batch"],
    "fit --model CNN --early_stopping 3 --trainer.limit_val_batches 0": ["--early_stopping"],
    "fit --model CNN --trainer.sync_batchnorm true --trainer.accelerator cpu": ["sync_batchnorm", "GPUs"],
    "fit --model CNN --ckpt_path no.ckpt": ["no.ckpt", "no such file"],
    "fit --config cnn --trainer.max_epochs abc": ["--trainer.max_epochs=abc: expected"],
    f"fit --config cnn --data.source cifar10 --data.data_dir {LONG}": ["--data.data_dir=xxx"],
    "test --ckpt .": ["--ckpt . is a folder"],
    "test --model CNN": ["test needs a trained model", "--ckpt best"],
    "test --model CNN --ckpt_path no.ckpt": ["no.ckpt", "no such file"],
    "validate --model CNN --ckpt_path no.ckpt": ["no.ckpt"],
    "lst": ["unknown command 'lst'", "Did you mean 'list'?"],
    "list ResNext": ["'ResNext'"],
    "list CNN MLP": ["unexpected argument 'MLP'"],
    "list --jsn": ["'--jsn'", "Did you mean '--json'?"],
    "list --tag conv": ["conv"],
    "info": ["info needs a model", "CNN"],
    "info CNM": ["unknown model 'CNM'", "Did you mean 'CNN'?"],
    "config CNM": ["unknown model 'CNM'", "Did you mean 'CNN'?"],
    "fit --config bomb.yaml": ["'bomb.yaml' holds more than 10,000 values"],
    "config CNN --out list.yaml": ["--out list.yaml is there already"],
    "config CNN --out .": ["--out . is there already"],
    "predict": ["predict needs pictures"],
    "predict nowhere.jpg": ["nowhere.jpg"],
    "predict list.yml": ["list.yml", "Did you mean 'list.yaml'?"],
    "predict list.yaml --format xml": ["--format xml"],
    "predict list.yaml --ckpt nowhere.ckpt": ["nowhere.ckpt"],
    "predict list.yaml --ckpt best": ["--ckpt best", "no run"],
    "export": ["--format"],
    "export --format onx": ["--format onx", "Did you mean 'onnx'?"],
    "export --format onnx --ckpt nowhere.ckpt": ["nowhere.ckpt"],
    "export --format npz": ["--ckpt best", "no run"],
    "export --format npz --out x.onnx": ["--out x.onnx", "--format npz"],
    "export --format npz --out .": ["--out . is a folder"],
    "data shw": ["'data shw'", "Did you mean 'show'?"],
    "data show --source synth": ["synth"],
    "data show --rows 0": ["--rows 0 is out of range"],
    "compare": ["compare needs runs"],
    "compare nowhere": ["'nowhere' does not exist"],
    "doctor stray": ["stray"],
}


@pytest.fixture
def files() -> dict[Path, bytes]:
    """What is there before a command, and has to be there after it."""
    for name, text in FILES.items():
        Path(name).write_text(text)
    return contents(Path())


def run(arguments: list[str], capsys) -> tuple[int, str]:
    return cli.main(arguments), capsys.readouterr().err


def assert_one_line(error: str, expected: list[str]) -> None:
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 1100
    for text in expected:
        assert text in error


@pytest.mark.parametrize("command", CASES)
def test_one_line(command, files, capsys):
    arguments = command.split()
    if arguments[0] == "fit" and "--data.source" not in command and "config" not in command and len(arguments) > 1:
        arguments[1:1] = [word for word in TINY if word.split("=")[0] not in command]
    code, error = run(arguments, capsys)
    assert_one_line(error, CASES[command])
    assert code == 2
    assert contents(Path()) == files, "something was written"


BROKEN_NET = """
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class BrokenNet(TorchClassifier):
    def __init__(self, outputs: int = 10, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        dense = nn.LazyLinear(10) if outputs == 0 else nn.Linear(3000 if outputs == 10 else 3072, outputs)
        self.net = nn.Sequential(nn.Flatten(), dense)

    def forward(self, images):
        return self.net(images.float())
"""


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (10, ["BrokenNet cannot classify an image (broken_net.py, line 12): RuntimeError: "]),
        (0, ["BrokenNet has layers whose sizes are not known (net.1): give them, in place of Lazy modules"]),
        (5, ["BrokenNet returns (2, 5) for two images, expected (2, 10)"]),
    ],
)
def test_a_model_that_cannot_classify(outputs, expected, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, "broken_net", raising=False)
    Path("broken_net.py").write_text(BROKEN_NET)
    code, error = run(["fit", "--model", "broken_net.BrokenNet", f"--model.outputs={outputs}", *TINY], capsys)
    assert code == 2
    assert_one_line(error, expected)
    assert not Path("runs").exists()


CHECKPOINTS = {
    "empty": b"",
    "text": b"not a checkpoint",
    "truncated": b"PK\x03\x04" + b"\0" * 100,
}


@pytest.mark.parametrize("command", ["fit", "test", "validate"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_unreadable_checkpoints(command, kind, capsys):
    Path("bad.ckpt").write_bytes(CHECKPOINTS[kind])
    code, error = run([command, "--model", "CNN", *TINY, "--ckpt_path=bad.ckpt"], capsys)
    assert code == 2
    assert_one_line(error, ["bad.ckpt", "no readable checkpoint"])
    assert [path.name for path in Path().iterdir()] == ["bad.ckpt"]


@pytest.mark.parametrize("damage", ["other bytes", "packed"])
def test_a_damaged_checkpoint(damage, capsys):
    """PyTorch itself reads such a file without a word."""
    torch.save({"state_dict": {"weight": torch.arange(1000.0)}}, "good.ckpt")
    if damage == "packed":
        with zipfile.ZipFile("good.ckpt") as good, zipfile.ZipFile("bad.ckpt", "w", zipfile.ZIP_DEFLATED) as bad:
            for entry in good.infolist():
                bad.writestr(entry.filename, good.read(entry))
    else:
        content = bytearray(Path("good.ckpt").read_bytes())
        place = content.index(np.arange(500.0, 510.0, dtype=np.float32).tobytes())
        content[place : place + 8] = bytes(8)
        Path("bad.ckpt").write_bytes(content)
    torch.load("bad.ckpt", weights_only=True)
    code, error = run(["test", "--ckpt=bad.ckpt"], capsys)
    assert code == 2
    assert_one_line(error, ["bad.ckpt is damaged" if damage == "other bytes" else "bad.ckpt is packed"])


def test_a_checkpoint_that_asks_for_code(capsys):
    torch.save({"state_dict": {}, "hyper_parameters": Malicious()}, "bad.ckpt")
    code, error = run(["test", "--model", "CNN", *TINY, "--ckpt_path=bad.ckpt"], capsys)
    assert code == 2
    assert_one_line(error, ["bad.ckpt", "no readable checkpoint"])
    assert not Path("it-ran").exists()


def test_a_checkpoint_of_another_model(capsys):
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": "zoo.models.cnn.CNN"}, "global_step": 0}
    epochs = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    content["loops"] = {"fit_loop": {"epoch_progress": {"current": epochs}}}
    content["pytorch-lightning_version"] = "2.6.6"
    torch.save(content, "cnn.ckpt")
    code, error = run(["test", "--model", "MLP", *TINY, "--ckpt_path=cnn.ckpt"], capsys)
    assert code == 2
    assert_one_line(error, ["zoo.models.cnn.CNN", "zoo.models.mlp.MLP"])


DATA_CASES = {
    "a truncated file": (lambda: Path("cut").write_bytes(b"\x80\x02}q"), "test_batch"),
    "a foreign file": (lambda: write_pickle(Path("cut"), {"label_names": ["apple"]}), "test_batch"),
    "a swapped file": (lambda: write_pickle(Path("cut"), batch_file("data_batch_1")), "training batch 1"),
    "a label out of range": (
        lambda: write_pickle(Path("cut"), batch_file("test_batch", labels=[11] * 10_000)),
        "label 11 of image 0",
    ),
}


@pytest.mark.parametrize("case", DATA_CASES)
def test_bad_data(case, damaged_layout, capsys):
    write, expected = DATA_CASES[case]
    write()
    target = damaged_layout / CIFAR10.folder / "test_batch"
    target.unlink()
    Path("cut").rename(target)
    before = set(Path().rglob("*"))
    options = ["--data.data_dir", str(damaged_layout), "--data.verify_checksums=false", "--data.train_size=64"]
    code, error = run(["fit", "--model", "CNN", *options], capsys)
    assert_one_line(error, [expected])
    assert code == 2
    assert set(Path().rglob("*")) == before


def test_unofficial_files_are_refused(official_layout, capsys):
    code, error = run(["fit", "--model", "CNN", "--data.data_dir", str(official_layout)], capsys)
    assert code == 2
    assert_one_line(error, ["data_batch_1", "--data.verify_checksums=false"])
    assert not Path("runs").exists()


def test_val_size_larger_than_train(official_layout, capsys):
    options = ["--data.data_dir", str(official_layout), "--data.verify_checksums=false", "--data.val_size=60000"]
    code, error = run(["fit", "--model", "CNN", *options], capsys)
    assert code == 2
    assert_one_line(error, ["val_size=60000", "50,000"])


def test_no_data_and_no_network(monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    code, error = run(["fit", "--model", "CNN", "--data.data_dir", "my-data"], capsys)
    assert code == 2
    assert_one_line(error, ["my-data", "Name or service not known", "--config synthetic"])
    assert not list(Path().iterdir())


def test_a_failed_download_takes_away_what_it_made_and_no_more(monkeypatch, capsys):
    def breaks(*args, **kwargs):
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", breaks)
    Path("mine").mkdir()
    Path("mine/notes").write_text("mine")
    for folder in ("a/b/c", "mine"):
        code, error = run(["fit", "--model", "CNN", "--data.data_dir", folder], capsys)
        assert code == 2
        assert_one_line(error, [folder])
    assert sorted(path.as_posix() for path in Path().rglob("*")) == ["mine", "mine/notes"]


def test_a_file_where_a_folder_should_be(capsys):
    Path("runs").write_text("mine")
    code, error = run(["fit", "--model", "CNN", *TINY], capsys)
    assert code == 2
    assert_one_line(error, ["--runs_dir=runs"])
    assert Path("runs").read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        "fti",
        "fit --config malformed.yaml",
        "predict list.yml",
        "export --format onx",
    ],
)
def test_as_a_process(command, files):
    done = subprocess.run([sys.executable, cli.__file__, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert_one_line(done.stderr, CASES[command])
    assert done.stdout == ""


@pytest.mark.parametrize(
    "cause",
    [
        "RuntimeError('operator torchvision::nms does not exist')",
        "AttributeError('partially initialized module torchvision has no attribute extension')",
    ],
)
def test_torchvision_built_for_another_torch(tmp_path, cause):
    """What happens at import then, played by a package of that name that comes first on the path."""
    fake = tmp_path / "fake" / "torchvision"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(f"raise {cause}")
    done = subprocess.run(
        [sys.executable, cli.__file__, "fit", "--model", "CNN"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(fake.parent)},
    )
    assert done.returncode == 2
    expected = ["do not fit each other", cause.split("'")[1], "pip install --force-reinstall torch torchvision"]
    assert_one_line(done.stderr, expected)
