"""`TimmModel`, `TorchvisionModel` and `Wrapped`: the networks of others, and what a stranger's file may say of them."""

import json
import re
import shutil
import sys
import urllib.error
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from torch import nn
from torchvision.transforms.v2 import functional as T

import cli
from datamodules.errors import InputError
from tests.helpers import quiet_trainer, random_images, refusal, run_of, tiny_data, weights
from tests.models import foreign_nets
from tests.models.test_every_model import check_compiled
from zoo.exporting import check, onnx, pt2, safetensors
from zoo.interpretation import attribution, class_activation, layer_outputs
from zoo.models.timm_model import TimmModel
from zoo.models.torchvision_model import TorchvisionModel
from zoo.models.wrapped import LARGEST, Wrapped
from zoo.testing import check_model, check_two_processes
from zoo.trained import trained_model

NETS = "tests.models.foreign_nets"
FIT = ["--config=synthetic", "--data.train_size=32", "--data.val_size=16", "--data.test_size=16"]
FIT += ["--data.batch_size=16", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false"]
FIT += ["--trainer.enable_progress_bar=false"]


def case(model: type, name: str, full: bool = False, **arguments: Any):
    return pytest.param(model, {"name": name} | arguments, id=f"{name}", marks=pytest.mark.full if full else ())


SMALL = [
    case(TimmModel, "test_resnet"),
    case(TimmModel, "test_convnext", options={"drop_path_rate": 0.1}),
    case(TimmModel, "test_efficientnet"),
    case(TimmModel, "test_vit", resize=64),
    case(TimmModel, "test_mambaout"),
    case(TimmModel, "mobilenetv3_small_050"),
    case(TimmModel, "vit_tiny_patch16_224", options={"depth": 1}),
    case(TimmModel, "test_byobnet"),
    case(TorchvisionModel, "mobilenet_v3_small"),
    case(TorchvisionModel, "squeezenet1_1"),
    case(TorchvisionModel, "mnasnet0_5"),
]
SMALL_SWIN = {"depths": [1, 1, 1, 1], "embed_dim": 48}
LARGE = [
    case(TimmModel, "convnext_atto", full=True, options={"drop_path_rate": 0.1}),
    case(TimmModel, "swin_tiny_patch4_window7_224", full=True, resize=64, options=SMALL_SWIN),
    case(TorchvisionModel, "regnet_y_400mf", full=True),
    case(TorchvisionModel, "googlenet", full=True, resize=64),
    case(TorchvisionModel, "densenet121", full=True, resize=64),
    case(TorchvisionModel, "efficientnet_b0", full=True),
]


def full(cases: list) -> list:
    """Return cases that `pytest -m full` alone runs."""
    return [pytest.param(*case.values, id=case.id, marks=pytest.mark.full) for case in cases]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def theirs(model: type, name: str, size: int, num_classes: int = 10, **options: Any) -> nn.Module:
    """Return the network as its library makes it."""
    if model is TorchvisionModel:
        options |= {"aux_logits": False} if name == "googlenet" else {}
        return torchvision.models.get_model(name, num_classes=num_classes, **options)
    sized = {"img_size": size} if any(kind in name for kind in ("vit", "swin")) else {}
    return timm.create_model(name, num_classes=num_classes, **sized, **options)


# The contract. `test_every_model.py` checks the default networks.


@pytest.mark.parametrize(("model", "arguments"), [*SMALL, *LARGE])
def test_contract(model, arguments):
    check_model(model, **arguments)


@pytest.mark.parametrize(("net", "options"), [("MyNet", {"width": 8}), ("make_net", None)])
def test_contract_of_wrapped(net, options):
    check_model(Wrapped, net=f"{NETS}.{net}", options=options)


@pytest.mark.parametrize(("model", "arguments"), [*SMALL, *LARGE])
@pytest.mark.parametrize("num_classes", [2, 7])
def test_parameters_are_the_librarys(model, arguments, num_classes):
    size, options = arguments.get("resize", 32), arguments.get("options", {})
    expected = theirs(model, arguments["name"], size, 1 if num_classes == 2 else num_classes, **options)
    assert parameters(model(**arguments, num_classes=num_classes)) == parameters(expected)


@pytest.mark.parametrize("resize", [None, 24, 48])
def test_logits_are_those_of_the_network_on_normalized_and_resized_images(resize):
    torch.manual_seed(0)
    model = TorchvisionModel("shufflenet_v2_x0_5", resize=resize, num_classes=5).eval()
    network = theirs(TorchvisionModel, "shufflenet_v2_x0_5", 32, 5).eval()
    network.load_state_dict(model.net.state_dict())
    images = random_images(3)
    x = T.normalize(images.float() / 255, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    x = x if resize is None else T.resize(x, [resize, resize], T.InterpolationMode.BILINEAR, antialias=True)
    torch.testing.assert_close(model.prepare(model.normalize(images)), x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(images), network(x), rtol=1e-4, atol=1e-4)  # which hardly differ between images


def test_a_gray_image_is_shown_to_torchvisions_networks_in_three_equal_channels():
    torch.manual_seed(0)
    gray = TorchvisionModel("squeezenet1_1", channels=1).eval()
    color = TorchvisionModel("squeezenet1_1").eval()
    color.net.load_state_dict(gray.net.state_dict())
    for model in (gray, color):
        model.set_normalization([0.5] * model.channels, [0.25] * model.channels)
    images = random_images(2)[:, :1]
    torch.testing.assert_close(gray(images), color(images.expand(-1, 3, -1, -1)))
    with pytest.raises(InputError, match="squeezenet1_1 takes images of 1 or 3 channels, and the data have 4"):
        TorchvisionModel("squeezenet1_1", channels=4)


def test_what_a_network_is_told():
    net = TimmModel("vit_tiny_patch16_224", {"depth": 1}, resize=48, channels=1, num_classes=2).net
    assert net.patch_embed.img_size == (48, 48)
    assert net.patch_embed.proj.in_channels == 1
    assert net.head.out_features == 1
    net = Wrapped(f"{NETS}.MyNet", {"width": 3}, resize=16, channels=1, num_classes=2).net
    assert tuple(net.convolution.weight.shape) == (3, 1, 3, 3)
    assert tuple(net.linear.weight.shape) == (1, 3 * 8 * 8)


def test_the_head_of_timms_networks_is_named():
    model = TimmModel("test_convnext")
    assert model.get_submodule(model.head) is model.net.get_classifier()


# The heavy checks. `test_every_model.py` and others do them for the default networks.


@pytest.mark.parametrize(("model", "arguments"), full([*SMALL, *LARGE]))
def test_programs_maps_and_compilation(model, arguments, tmp_path):
    torch.manual_seed(0)
    built = model(**arguments).eval()
    images = check.Images(random_images(108).numpy(), "noise")
    for file_format in (onnx, pt2):
        file = tmp_path / "program"
        file.write_bytes(file_format.content(built, {}))
        assert check.compare(file, file_format.probabilities, built, images).difference < 1e-5
    pixels, classes = random_images(2), torch.tensor([3, 5])
    assert attribution.saliency(built, pixels, classes).shape == (2, 32, 32)
    if layer_outputs.last_convolution(built):
        assert class_activation.maps(built, pixels, classes).isfinite().all()
    check_compiled(built, "aot_eager")


@pytest.mark.parametrize("resize", [20, 48])
def test_a_program_resizes(resize):
    torch.manual_seed(0)
    built, images = Wrapped(f"{NETS}.MyNet", resize=resize).eval(), check.Images(random_images(108).numpy(), "noise")
    Path("program").write_bytes(onnx.content(built, {}))
    assert check.compare(Path("program"), onnx.probabilities, built, images).difference < 1e-5


@pytest.mark.full
def test_two_processes():
    check_two_processes(Wrapped, net=f"{NETS}.MyNet")
    for param in [*SMALL, *LARGE]:
        model, arguments = param.values
        check_two_processes(model, **arguments)


# Bad input: one line, and nothing is written.

TIMM, TORCHVISION, WRAPPED = ["--model=TimmModel"], ["--model=TorchvisionModel"], ["--model=Wrapped"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([*TIMM, "--model.name=convnext_ato"], "Did you mean 'convnext_atto'?"),
        ([*TIMM, "--model.name=hf-hub:timm/resnet18"], "names a hub or a folder"),
        ([*TIMM, "--model.name=local-dir:here"], "names a hub or a folder"),
        ([*TIMM, "--model.name=./here"], "names a hub or a folder"),
        ([*TIMM, "--model.options={drop_pth_rate: 0.1}"], "no option 'drop_pth_rate'. Did you mean 'drop_path_rate'?"),
        ([*TIMM, "--model.options={in_chans: 3}"], "in_chans follows from other options"),
        ([*TIMM, "--model.options={img_size: 64}"], "img_size follows from other options"),
        ([*TIMM, "--model.options={class_path: subprocess.Popen}"], "no option 'class_path'"),
        ([*TIMM, "--model.options=7"], "--model.options"),
        ([*TIMM, "--model.options={7: 7}"], "--model.options: the name 7 is not a string"),
        ([*TORCHVISION, "--model.options={7: 7}"], "--model.options: the name 7 is not a string"),
        ([*TORCHVISION, "--model.name=inception_v3"], "cannot take images of 32 x 32 pixels"),  # without its warnings
        ([*TIMM, "--model.options={features_only: true}"], "returns a list"),
        ([*TIMM, f"--model.resize={LARGEST + 1}"], "is out of range: give a number of pixels from 1 to 1024"),
        ([*TIMM, "--model.options={checkpoint_path: x.pth}"], "checkpoint_path would load weights or other files"),
        ([*TORCHVISION, "--model.name=resnet_18"], "Did you mean 'resnet18'?"),
        ([*TORCHVISION, "--model.name=fasterrcnn_resnet50_fpn"], "torchvision has no such network"),
        (
            [*TORCHVISION, "--model.name=mobilenet_v3_small", "--model.options={dropuot: 0.1}"],
            "no option 'dropuot'. Did you mean 'dropout'?",
        ),
        ([*TORCHVISION, "--model.name=googlenet", "--model.options={aux_logits: true}"], "aux_logits follows from"),
        ([*TORCHVISION, "--model.name=alexnet"], "cannot take images of 32 x 32 pixels (RuntimeError: "),
        ([*TORCHVISION, "--model.name=alexnet"], ": --model.resize 96 enlarges them"),
        (WRAPPED, "Wrapped needs a network: name a class or a function by --model.net, such as my_module.MyNet"),
        ([*WRAPPED, "--model.net=MyNet"], "--model.net=MyNet has no module"),
        ([*WRAPPED, "--model.net=no_such.MyNet"], "cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        ([*WRAPPED, f"--model.net={NETS}.MyNett"], "has no 'MyNett'. Did you mean 'MyNet'?"),
        ([*WRAPPED, f"--model.net={NETS}.NETS"], "has no 'NETS'"),
        ([*WRAPPED, "--model.net=json.__doc__"], "is not a class or a function"),
        ([*WRAPPED, "--model.net=os.getcwd"], "returns a str, expected an nn.Module"),
        ([*WRAPPED, f"--model.net={NETS}.logits"], "missing 1 required positional argument: 'x'"),
        ([*WRAPPED, f"--model.net={NETS}.MyNet", "--model.options={widht: 3}"], "Did you mean 'width'?"),
        ([*WRAPPED, f"--model.net={NETS}.MyNet", "--model.options={num_classes: 3}"], "follows from other options"),
        ([*WRAPPED, f"--model.net={NETS}.Broken"], "Wrapped cannot classify an image (foreign_nets.py, line "),
    ],
)
def test_refusals(capsys, words, problem):
    assert problem in refusal(capsys, "fit", *words, *FIT, notes=("note: timm's",))
    assert not Path("runs").exists()
    assert "subprocess" not in str(Path.cwd())


@pytest.mark.parametrize("option", ["checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg_overlay", "weights"])
@pytest.mark.parametrize("model", [TimmModel, TorchvisionModel, partial(Wrapped, f"{NETS}.make_net")])
def test_options_that_would_load_files(model, option):
    with pytest.raises(InputError, match=f"{option} would load weights or other files: leave it out"):
        model(options={option: "x"})


def test_small_maps_are_noted(capsys):
    code = cli.main(["fit", *TIMM, *FIT, "--model.name=test_resnet", "--trainer.fast_dev_run=true"])
    assert code == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "1 x 1" in line]
    assert note.startswith("note: timm's test_resnet makes maps of 1 x 1 pixel of images of 32 x 32, before the layer ")
    assert note.endswith(": --model.resize 64 enlarges them")
    assert TimmModel("test_resnet", resize=64).starved_layer == ""
    assert TorchvisionModel("vgg11", {"dropout": 0.1}).starved_layer == "avgpool"


def test_without_timm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for command in (["fit", *TIMM, *FIT], ["list", "--all", "timm"], ["info", "TimmModel", "--model.name=resnet18"]):
        assert "pip install 'cifar10-zoo[timm]'" in refusal(capsys, *command)


# Listing.


def test_list_all(capsys):
    assert cli.main(["list", "--all", "torchvision", "REGNET_y*", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert names == [name for name in torchvision.models.list_models() if name.startswith("regnet_y")]
    assert cli.main(["list", "--all", "timm", "convnext_atto"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"convnext_atto", "convnext_atto.d2_in1k"} <= set(lines)
    assert lines[-1].endswith("Train one: fit --model TimmModel --model.name convnext_atto")
    assert "Did you mean 'timm'?" in refusal(capsys, "list", "--all", "tim")
    assert "no network 'convnxt_atto'. Did you mean 'convnext_atto'?" in refusal(
        capsys, "list", "--all", "timm", "convnxt_atto"
    )
    assert "leave out --tag" in refusal(capsys, "list", "--all", "timm", "--tag=torch")


def test_info_of_a_network(capsys):
    assert cli.main(["info", "TimmModel", "--model.name", "test_vit", "--model.num_classes=7", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["parameters"] == parameters(timm.create_model("test_vit", num_classes=7, img_size=32))
    assert page["layers"][-1]["output"] == [1, 7]
    assert cli.main(["info", "TimmModel", "--model.name=test_vit"]) == 0
    assert capsys.readouterr().out.startswith("TimmModel, with name='test_vit'\n")
    assert "Did you mean 'test_vit'?" in refusal(capsys, "info", "TimmModel", "--model.name=tst_vit")
    assert "no argument 'nam'. Did you mean 'name'?" in refusal(capsys, "info", "TimmModel", "--model.nam=x")
    assert cli.main(["info", "Wrapped"]) == 0
    assert "not known    Wrapped needs a network" in capsys.readouterr().out


# Checkpoints.


def test_a_checkpoint_keeps_name_and_options():
    run = run_of("fit", *TIMM, *FIT, "--model.name=test_vit", "--model.options={depth: 1}", "--model.resize=48")
    model = trained_model.load(run).model
    assert (model.hparams["name"], model.hparams["options"], model.resize) == ("test_vit", {"depth": 1}, 48)
    assert cli.main(["fit", "--resume", str(run), *FIT, "--trainer.max_epochs=2"]) == 0
    assert cli.main(["test", "--ckpt", str(run)]) == 0


def test_wrapped_is_named_again(capsys):
    run = run_of("fit", *WRAPPED, *FIT, f"--model.net={NETS}.MyNet", "--model.options={width: 3}")
    again = f"If you trust it, name it again: --model.net {NETS}.MyNet"
    more = ["fit", "--resume", run, "--trainer.max_epochs=2"]
    images = ["--test_set", f"--data_dir={Path.cwd()}"]
    for command in (more, ["test", "--ckpt", run], ["predict", *images, "--ckpt", run], ["explain", "--ckpt", run]):
        assert again in refusal(capsys, *command), command
    named = ["--model.net", f"{NETS}.MyNet"]
    for command in (
        [*more, *named],
        ["test", "--ckpt", run, *named],
        ["test", "--ckpt", run, *WRAPPED, *named],
        ["predict", "--test_set", "--ckpt", run, *named, "--out=p.csv"],
        ["explain", "--ckpt", run, *named, "--images=1", "--method=cam"],
        ["export", "--ckpt", run, *named, "--format=onnx"],
        ["export", "--ckpt", run, *named, "--format=safetensors"],
        ["evaluate", "--ckpt", run, *named, "--corruption_images=0", "--against", run, "--against_net", named[1]],
    ):
        assert cli.main([*map(str, command)]) == 0, command
    model = trained_model.load(run, net=f"{NETS}.MyNet").model
    assert parameters(model) == parameters(foreign_nets.MyNet(10, 3, 32, 3))
    assert "do not fit Wrapped" in refusal(capsys, "test", "--ckpt", run, f"--model.net={NETS}.Wider")


def test_a_net_for_another_model(capsys):
    run = run_of("fit", "--model=MLP", *FIT)
    told = refusal(capsys, "export", "--format=pt2", "--ckpt", run, f"--model.net={NETS}.MyNet")
    assert "--model.net is for the model Wrapped, and " in told


# A stranger's files.


@pytest.fixture
def evil(monkeypatch) -> str:
    """The name of a module that leaves a file behind when it is imported."""
    Path("evil_net.py").write_text("open('it-ran', 'w')\n\ndef net(**options): open('it-ran', 'w')\n")
    monkeypatch.syspath_prepend(".")
    yield "evil_net"
    assert not Path("it-ran").exists()
    assert "evil_net" not in sys.modules


def changed(run: Path, **arguments: Any) -> Path:
    """Put arguments of the model into a run's checkpoints and its config."""
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        content["hyper_parameters"] |= arguments
        torch.save(content, path)
    whole = yaml.safe_load((run / "config.yaml").read_text())
    whole["model"]["init_args"] |= arguments
    (run / "config.yaml").write_text(yaml.safe_dump(whole))
    return run


@pytest.fixture(scope="module")
def their_runs(tmp_path_factory) -> dict[str, Path]:
    """Runs of one epoch. Read only."""
    models = {"timm": [*TIMM, "--model.name=test_resnet"], "wrapped": [*WRAPPED, f"--model.net={NETS}.MyNet"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("theirs"))
        return {name: run_of("fit", *words, *FIT) for name, words in models.items()}


@pytest.mark.parametrize("name", ["evil_net.net", "subprocess.getoutput"])
def test_a_file_never_names_a_network(capsys, evil, their_runs, name):
    run = Path(shutil.copytree(their_runs["wrapped"], "theirs"))
    changed(run, net=name, options={"cmd": "touch it-ran"})
    ckpt = ["--ckpt", run]
    commands = [["fit", "--resume", run, "--trainer.max_epochs=2"], ["fit", *ckpt], ["test", *ckpt]]
    commands += [["predict", "--test_set", *ckpt], ["export", "--format=onnx", *ckpt], ["explain", *ckpt]]
    for command in [*commands, ["evaluate", *ckpt]]:
        assert f"model.net is {name}, which no file may choose" in refusal(capsys, *command), command
    own = refusal(capsys, "test", *ckpt, f"--model.net={NETS}.MyNet")
    assert "has no option 'cmd'" in own, "with the user's network, the file's options"


@pytest.mark.parametrize("arguments", [{"options": {"layers": [999] * 4}}, {"options": {"stem_width": 4000}}])
def test_a_file_of_timm_does_not_use_up_the_memory(capsys, their_runs, arguments):
    run = changed(Path(shutil.copytree(their_runs["timm"], "theirs")), **arguments)
    tensors = 0

    def count(*_: Any) -> None:
        nonlocal tensors
        tensors += 1

    with nn.modules.module.register_module_parameter_registration_hook(count):
        for command in (["predict", "--test_set"], ["fit", "--trainer.max_epochs=2"]):
            told = refusal(capsys, *command, "--ckpt", run)
            assert "numbers, far more than the file can hold" in told
    assert tensors < 20_000


@pytest.mark.parametrize("size", [{"image_size": 10**5}, {"image_size": 0}, {"channels": 0}, {"channels": 10**9}])
def test_a_file_of_images_of_impossible_sizes(capsys, their_runs, size):
    run = changed(Path(shutil.copytree(their_runs["timm"], "theirs")), **size)
    ((name, value),) = size.items()
    assert f"TimmModel: {name}={value} is out of range" in refusal(capsys, "predict", "--test_set", "--ckpt", run)


def test_a_file_of_weights_starts_no_download(monkeypatch):
    metadata = {"model": "TimmModel", "arguments": json.dumps({"name": "test_resnet", "pretrained": True})}
    Path("m.safetensors").write_bytes(safetensors.content(TimmModel("test_resnet").eval(), metadata))
    asked, create = [], timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained, **o: asked.append(pretrained) or create(name, **o)
    )
    safetensors.probabilities("m.safetensors", random_images(2).numpy())
    assert asked
    assert not any(asked)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "local-dir:."}, "names a hub or a folder"),
        ({"name": "hf-hub:evil/net"}, "names a hub or a folder"),
        ({"name": "../evil"}, "names a hub or a folder"),
        ({"options": {"checkpoint_path": "evil.pth"}}, "would load weights or other files"),
        ({"options": {"cache_dir": "evil"}}, "would load weights or other files"),
        ({"options": {"pretrained_cfg": {"file": "evil.pth"}}}, "would load weights or other files"),
        ({"options": {"pretrained_model_args": {"x": 1}}}, "would load weights or other files"),
        ({"options": {"x": {"class_path": "evil_net.net"}}}, "names evil_net.net, where no class may be named"),
        ({"options": {"class_path": "evil_net.net"}}, "names evil_net.net, where no class may be named"),
        ({"options": {"act_layer": "{class_path: evil_net.net}"}}, "a text that would be read as YAML"),
        ({"options": {"act_layer": "evil_net.net"}}, "cannot be built"),
        ({"resize": 10**6}, "is out of range"),
    ],
)
def test_a_file_of_timm_loads_nothing(capsys, evil, their_runs, arguments, problem):
    run = changed(Path(shutil.copytree(their_runs["timm"], "theirs")), **arguments)
    with pytest.raises(InputError, match=re.escape(problem)):
        trained_model.load(run)
    assert problem in refusal(capsys, "fit", "--resume", run, "--trainer.max_epochs=2")


def test_config_check_names_the_network(capsys):
    Path("theirs.yaml").write_text("model: {class_path: Wrapped, init_args: {net: os.system}}\n")
    assert cli.main(["config", "--check", "theirs.yaml"]) == 1
    assert capsys.readouterr().out.startswith("model.init_args.net: os.system\n")


def test_a_file_of_weights_never_names_a_network(evil):
    """`net` of the caller replaces that of the file, and without it nothing is imported."""
    metadata = {"model": "Wrapped", "arguments": json.dumps({"net": "evil_net.net", "options": {"width": 3}})}
    model = Wrapped(f"{NETS}.MyNet", {"width": 3}).eval()
    Path("m.safetensors").write_bytes(safetensors.content(model, metadata))
    images = random_images(2)
    with pytest.raises(ImportError, match=r"its network is evil_net\.net: where you trust that, name it as `net`"):
        safetensors.probabilities("m.safetensors", images.numpy())
    found = safetensors.probabilities("m.safetensors", images.numpy(), net=f"{NETS}.MyNet")
    torch.testing.assert_close(torch.from_numpy(found), model(images).softmax(1).detach())


# Pretrained weights, from local files.


@pytest.fixture
def torchvision_weights(monkeypatch, tmp_path) -> dict[str, torch.Tensor]:
    """Weights of squeezenet1_1 for a thousand classes, where torchvision keeps those that it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(1)
    state = torchvision.models.get_model("squeezenet1_1").state_dict()
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2])
    return state


@pytest.fixture
def timm_weights(monkeypatch) -> dict[str, torch.Tensor]:
    """Weights of test_vit for a thousand classes, in place of a download."""
    torch.manual_seed(1)
    state = timm.create_model("test_vit").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: dict(state))
    return state


def test_pretrained_weights_of_torchvision(torchvision_weights):
    model = TorchvisionModel("squeezenet1_1", pretrained=True)
    state = model.net.state_dict()
    own = [name for name in state if not torch.equal(state[name], torchvision_weights[name][: len(state[name])])]
    assert own == ["classifier.1.weight"], "all biases start at 0"
    assert len(state["classifier.1.bias"]) == 10
    images = random_images(2)
    expected = T.normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    quiet_trainer(limit_train_batches=1).fit(model, tiny_data())  # whose data have other means
    torch.testing.assert_close(model.normalize(images), expected, rtol=1e-4, atol=1e-4)


def test_pretrained_weights_of_other_shapes(torchvision_weights, tmp_path):
    (file,) = tmp_path.rglob("*.pth")
    torch.save(torchvision.models.get_model("squeezenet1_0").state_dict(), file)
    misfit = r"features.0.weight is \(96, 3, 7, 7\) there, and \(64, 3, 3, 3\) in the network"
    with pytest.raises(InputError, match=f"the weights of torchvision's squeezenet1_1 do not fit: {misfit}"):
        TorchvisionModel("squeezenet1_1", pretrained=True)
    file.write_bytes(b"junk")
    with pytest.raises(InputError, match="the weights of torchvision's squeezenet1_1 cannot be loaded: "):
        TorchvisionModel("squeezenet1_1", pretrained=True)


def test_pretrained_weights_of_timm(timm_weights):
    model = TimmModel("test_vit", pretrained=True, resize=160)
    state = model.net.state_dict()
    own = [name for name in state if not torch.equal(state[name], timm_weights[name][: len(state[name])])]
    assert own == ["head.weight"], "all biases start at 0"
    expected = T.normalize(random_images(2).float() / 255, [0.5] * 3, [0.5] * 3)
    torch.testing.assert_close(model.normalize(random_images(2)), expected, rtol=1e-4, atol=1e-4)
    gray = TimmModel("test_vit", pretrained=True, resize=160, channels=1)
    torch.testing.assert_close(
        gray.net.patch_embed.proj.weight, timm_weights["patch_embed.proj.weight"].sum(1, keepdim=True)
    )
    assert gray.keeps_normalization


def test_pretrained_weights_act_once(timm_weights, monkeypatch, capsys):
    """They are not loaded again by a resume or a checkpoint, which have trained weights."""
    arguments = ["--model.name=test_vit", "--model.pretrained=true", "--model.resize=32"]
    run = run_of("fit", *TIMM, *FIT, *arguments, "--optimizer.lr=0")
    trained = weights(run)
    assert torch.equal(trained["net.blocks.0.attn.qkv.weight"], timm_weights["blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(trained["shift"], torch.full((96,), -1.0))
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]["pretrained"] is False

    def loaded(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pretrained weights were loaded again")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", loaded)
    assert cli.main(["test", "--ckpt", str(run)]) == 0
    assert cli.main(["fit", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    torch.testing.assert_close(weights(run)["shift"], torch.full((96,), -1.0))
    assert trained_model.load(changed(run, pretrained=True)).model.hparams["pretrained"] is False
    told = refusal(capsys, "fit", "--ckpt", run, "--model.pretrained=true")
    assert "has pretrained False: leave --model.pretrained out" in told


@pytest.mark.parametrize("words", [[*TIMM, "--model.name=test_vit"], [*TORCHVISION, "--model.name=squeezenet1_1"]])
def test_a_failed_download_is_one_line(capsys, monkeypatch, tmp_path, words):
    def fails(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fails)
    monkeypatch.setattr("torch.hub.download_url_to_file", fails)
    line = refusal(capsys, "fit", *words, *FIT, "--model.pretrained=true", notes=("Downloading: ",))
    assert "weights" in line
    assert "no route to host" in line
    assert not Path("runs").exists()


def test_a_network_without_weights(capsys):
    line = refusal(capsys, "fit", *TIMM, *FIT, "--model.name=convnext_atto_rms", "--model.pretrained=true")
    assert "convnext_atto_rms cannot be built with pretrained weights: RuntimeError: No pretrained weights" in line
