"""What a person sees: TensorBoard's pages and the HTML report in a headless Chromium."""

import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
        ("selenium", importlib.util.find_spec("selenium")),
    )
    if not found
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.pictures,
    pytest.mark.skipif(
        bool(MISSING) and os.environ.get("CI_BROWSER") != "1", reason=f"no browser: {', '.join(MISSING)} is missing"
    ),
]

FIT = ["fit", "--model=CNN", "--data.source=synthetic", "--data.train_size=64", "--data.val_size=30"]
FIT += ["--data.test_size=40", "--data.batch_size=16", "--trainer.max_epochs=2", "--config=histograms"]
FIT += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
CLASSES = ("disc", "ring", "square", "triangle", "diamond", "plus", "star", "moon", "heart", "hourglass")

# TensorBoard's pages are components with a document of their own each, and frames.
EVERYWHERE = """
function* all(root) {
    for (const element of root.querySelectorAll("*")) {
        yield element;
        if (element.shadowRoot) yield* all(element.shadowRoot);
        if (element.contentDocument) yield* all(element.contentDocument);
    }
}
"""
TEXTS = """
return [...all(document)]
    .filter(element => element.checkVisibility() && !element.matches("style, script, template"))
    .flatMap(element => [...element.childNodes])
    .filter(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
    .map(node => node.data.trim());
"""


class Page:
    """What stands on the page that a browser shows, in components and frames too."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # another part of one address would not be loaded anew
        self.driver.get(url)

    def texts(self) -> list[str]:
        """Return all texts that can be seen."""
        return self.driver.execute_script(EVERYWHERE + TEXTS)

    def find(self, selector: str, expression: str) -> list:
        """Return what a JavaScript expression makes of each `element` that a CSS selector fits."""
        script = "return [...all(document)].filter(e => e.matches(arguments[0])).map(element => {});"
        return self.driver.execute_script(EVERYWHERE + script.format(f"({expression})"), selector)

    def wait_for_texts(self, *wanted: str) -> list[str]:
        """Return all texts, as soon as some that are wanted are among them."""
        wait_for(lambda: {*wanted} <= {*self.texts()}, lambda: f"of {wanted}: {self.texts()}")
        return self.texts()


def wait_for(condition, found, seconds: float = 300):
    """Return what a condition gives as soon as that is true; fail with what was `found` where it does not get true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, found()
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on drawn images, with a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        assert cli.main(FIT) == 0
        assert cli.main(["evaluate", "--ckpt=best", "--corruption_images=5"]) == 0
        (path,) = Path("runs").glob("*/*")
        return path.resolve()


@pytest.fixture(scope="module")
def page():
    assert not MISSING, f"CI_BROWSER=1, but {', '.join(MISSING)} is missing"
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1500,1100"):
        options.add_argument(f"--{argument}")
    for argument in ("use-angle=swiftshader", "enable-unsafe-swiftshader"):  # the projector needs WebGL
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})  # which has all requests
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="module")
def board(run, tmp_path_factory) -> str:
    """The address of TensorBoard, started as `fit` says, on a port that is free."""
    log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir=runs", "--samples_per_plugin=images=200", "--port=0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=run.parents[2], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield wait_for(lambda: re.search(r"http://\S+", log.read_text()), log.read_text).group()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def name(run) -> str:
    """What TensorBoard calls the run."""
    return f"{run.parent.name}/{run.name}/tensorboard"


class TestTensorBoard:
    def test_time_series(self, page, board, name):
        page.open(f"{board}#timeseries")
        groups = ("hp", "lr", "perf", "test", "test_per_class", "train", "val", "val_per_class", "images", "weights")
        page.wait_for_texts(name, f"{name}/steps", *groups)

    def test_scalars(self, page, board, name):
        """The curve is there, over the two epochs."""
        page.open(f"{board}#scalars&tagFilter=%5Eval%2Facc%24")
        page.wait_for_texts(name, "val/acc", "1", "2")
        lines = "[...all(element.shadowRoot)].filter(e => e.matches('path.line')).map(e => e.getAttribute('d'))"

        def is_drawn() -> bool:
            cards = page.find("tf-scalar-card", f"[element.tag, {lines}]")
            # A line that is not drawn yet has no path.
            return any(line and "L" in line for tag, drawn in cards if tag == "val/acc" for line in drawn)

        wait_for(is_drawn, page.texts)

    def test_images(self, page, board):
        """All pictures are there, and could be read."""
        page.open(f"{board}#images&tagFilter=.")
        of_epochs = {"images/predictions", "images/class_activation", "val/confusion_matrix", "weights/first_layer"}
        of_epochs |= {"features/net.0", "features/net.3"}
        expected = of_epochs | {"images/augmented", "images/worst_mistakes", "test/confusion_matrix"}

        def pictures():
            picture = "element.shadowRoot.querySelector('img')?.naturalWidth ?? 0"
            return {(tag, wide > 200) for tag, wide in page.find("tf-image-loader", f"[element.tag, {picture}]")}

        wait_for(lambda: pictures() == {(tag, True) for tag in expected}, pictures)
        sliders = page.find("tf-image-loader", "[element.tag, element._steps.map(step => step.step)]")
        found = {tag: steps for tag, steps in sliders if tag in of_epochs}
        assert found == {tag: [1, 2] for tag in of_epochs}

    def test_hparams(self, page, board, name, run):
        page.open(f"{board}#hparams")
        texts = page.wait_for_texts(name, "seconds of training")
        settings = ["batch size", "epochs", "lr", "model", "optimizer"]
        figures = ["best val accuracy", "test accuracy", "epochs done", "seconds of training"]
        header = ["Trial ID", "Show Metrics", *settings, *figures]
        first = texts.index("Trial ID")
        assert texts[first : first + len(header)] == header
        row = texts[first + len(header) :]  # the only one, at the end of the page
        written = json.loads((run / "metrics.json").read_text())
        assert row[:1] == [name]
        assert [*map(float, row[1:4])] == [16, 2, 0.001]
        assert row[4:6] == ["CNN", "AdamW"]
        found = [written["val/acc"], written["test/acc"], 2, written["fit_seconds"]]
        assert [*map(float, row[6:])] == pytest.approx(found, rel=1e-3, abs=0.06)
        others = {
            "augmentation",
            "data",
            "model arguments",
            "parameters",
            "schedule",
            "seed",
            "task",
            "training images",
        }
        assert others <= {*texts}
        assert not [text for text in texts if "hp_metric" in text]

    def test_projector(self, page, board):
        page.open(f"{board}#projector")
        wait_for(lambda: page.find(".numDataPoints", "element.innerText") == ["30"], page.texts)
        assert page.find(".dim", "element.innerText") == ["128"]
        menus = page.find("vz-projector-data-panel", "element.metadataFile + element.selectedLabelOption")
        assert menus == ["projector/classes.tsvclass"]

        def colors() -> int:
            shown = np.asarray(Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB"))
            height, width, _ = shown.shape
            middle = shown[height // 4 : -height // 4, width // 3 : -width // 3]
            return len(np.unique(middle.reshape(-1, 3), axis=0))

        wait_for(lambda: colors() > 1000, colors)  # the images, where there were points of one color

    def test_pr_curves(self, page, board, name):
        page.open(f"{board}#pr_curves")
        page.wait_for_texts(name, "step 2", *(f"pr/{kind}" for kind in CLASSES))
        wait_for(lambda: len(page.find("path.line", "element.getAttribute('d')")) == len(CLASSES), page.texts)
        assert all(len(curve) > 100 for curve in page.find("path.line", "element.getAttribute('d')"))

    def test_text(self, page, board, name):
        page.open(f"{board}#text&tagFilter=.")
        texts = page.wait_for_texts("config/text_summary", "data/text_summary", "environment/text_summary", "hardware")
        (config,) = {text for text in texts if "seed_everything: 0" in text}
        assert "class_path: zoo.models.cnn.CNN" in config
        assert any(text.startswith("python cli.py fit --model=CNN") for text in texts)
        assert "Data: synthetic, multiclass: 64 train, 30 val, 40 test" in texts

    def test_histograms(self, page, board, name):
        page.open(f"{board}#histograms&tagFilter=.")
        page.wait_for_texts(name, "weights/net.0", "gradients/net.0", "activations/net.1")


class TestReport:
    @pytest.mark.parametrize("width", [1280, 390])
    def test_fits_the_screen_and_asks_no_network(self, page, run, width):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.open("about:blank")
        page.driver.get_log("performance")  # what came before
        page.open((run / "report/report.html").as_uri())

        ((shown, content, room),) = page.find("html", "[innerWidth, element.scrollWidth, element.clientWidth]")
        assert shown == width
        assert content <= room, "nothing is scrolled from side to side"
        pictures = page.find("img", "[element.complete, element.naturalWidth]")
        assert len(pictures) >= 3
        assert all(complete and wide > 0 for complete, wide in pictures)
        titles = re.findall(r"^##? (.+)$", (run / "report/report.md").read_text(), re.MULTILINE)
        assert len(titles) > 5
        assert page.find("h1, h2", "element.innerText") == titles
        assert {address.partition(":")[0] for address in requests(page.driver)} <= {"file", "data", "about"}


def requests(driver) -> list[str]:
    """Return the addresses of all that a browser has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [it["params"]["request"]["url"] for it in messages if it["method"] == "Network.requestWillBeSent"]
