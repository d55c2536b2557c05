"""What a test does in JupyterLab: open a notebook, run it, use an explorer in it."""

import io
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

READY = """() => {
  const widget = window.jupyterapp?.shell.currentWidget;
  const kernel = widget?.sessionContext?.session?.kernel;
  return Boolean(widget?.context?.isReady && kernel?.status === 'idle');
}"""
CLEARED = """() => {
  const cells = window.jupyterapp.shell.currentWidget.model.cells;
  const found = [];
  for (let i = 0; i < cells.length; i++) {
    const outputs = cells.get(i).outputs;
    for (let j = 0; j < (outputs?.length ?? 0); j++) {
      const output = outputs.get(j).toJSON();
      if (output.output_type === 'error') found.push([i, output.ename, output.evalue]);
    }
  }
  return found;
}"""
ASK_KERNEL = """async (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  let text = '';
  const future = kernel.requestExecute({ code });
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === 'stream') text += content.text;
    if (header.msg_type === 'error') text += `${content.ename}: ${content.evalue}`;
  };
  await future.done;
  return text.trim();
}"""


TITLE_PICTURE = '.jp-Notebook img[src*="figures"]'
PICTURES = """async () => {
  const found = [...document.querySelectorAll('.jp-Notebook img')];
  await Promise.all(found.map((image) => image.decode().catch(() => null)));
  return found.map(({ src, naturalWidth }) => [src.slice(0, 80), naturalWidth]);
}"""


WIDGETS = {
    "attention": "AttentionExplorer",
    "painter": "HolePainter",
    "explorer": "HoleExplorer",
    "discount": "DiscountExplorer",
    "gate": "GateExplorer",
    "mining": "MiningExplorer",
    "reading": "ReadingExplorer",
}
TRAINING = """import time, torch
level = torch.zeros(1, 3, 16, 16)
training = cl.TrainingView(lambda: level)

def step(k):
    time.sleep(0.01)
    level.fill_(min(1, k / 1000))
    return {"loss": 1 / (k + 1), "hole": 0.2 + 0.1 * (k % 2)}

training"""

WINDOW = """import torch
torch.manual_seed(0)
window = cl.WindowExplorer(cl.networks.UNet(conv=cl.layers.PartialConv2d).eval())
window"""

FILM = """film = cl.GateExplorer(network="coarse_to_fine", rival=None)
film"""

ATTENDING = """import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(3, 8, 4, 4)
        self.attention = cl.layers.ContextualAttention(rate=1, softmax_scale=4.0)

    def forward(self, image, hole):
        found = self.features(cl.fills.mean(image, hole))
        self.attention(found, found, torch.nn.functional.max_pool2d(hole, 4))
        return image

torch.manual_seed(0)
attending = cl.AttentionExplorer(network=Network())
attending"""

KERNEL = """import torch
torch.manual_seed(0)
network = cl.networks.Cascade(refinements=2, hidden=8)
kernel = cl.KernelExplorer(network.eval(), "hedgehog")
kernel"""

SAMPLING = """import torch
from functools import partial

def noisy(amount, seed, first=None, **options):
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = partial(cl.layers.DeformableSampling2d, starts="window")
    network = cl.networks.UNet(
        conv=partial(layer, **options),
        first=first and partial(cl.layers.DeformableSampling2d, tells="window"),
        decoder=cl.layers.PlainConv2d,
        channels=[8, 12, 16, 16, 16],
    )
    for stage in network.encoder:
        for weight in stage.conv.head.parameters():
            noise = torch.randn(weight.shape, generator=draw)
            weight.data = amount * noise / weight[0].numel() ** 0.5
    return network.eval()

networks = {
    "off": noisy(1.0, 0, moves="all"),
    "soft": noisy(2.5, 1, moves="all"),
    "hard": noisy(0.5, 2, first=True),
    "selection": noisy(0.5, 3, first=True, kernels=4),
}
sampling = cl.SamplingExplorer(networks, "hedgehog")
sampling"""

LADDER = """import torch
from functools import partial

torch.manual_seed(0)
small = dict(channels=[8, 12, 16, 16], kernels=[7, 5, 3, 3])
layers, UNet = cl.layers, cl.networks.UNet
sampling = partial(layers.DeformableSampling2d, starts="window")
rungs = {
    "partial": UNet(conv=layers.PartialConv2d, **small),
    "gated": UNet(conv=layers.GatedConv2d, **small),
    "+ attention": UNet(conv=layers.GatedConv2d, copies=True, **small),
    "mask-aware": cl.networks.Cascade(refinements=1, hidden=8),
    "deformable": UNet(conv=sampling, decoder=layers.PlainConv2d, **small),
}
rungs = {label: network.eval() for label, network in rungs.items()}
ladder = cl.LadderExplorer("hedgehog", rungs=rungs)
ladder"""

SKETCH = """import torch
import torch.nn.functional as F

def ink(image, hole, sketch):
    return torch.where(F.max_pool2d(sketch, 5, 1, 2) > 0, 0.95, image)

pad = cl.SketchPad(networks={"ink": ink, "deaf": lambda image, hole, sketch: image})
pad"""


def write_notebooks(folder: Path) -> None:
    """The smallest notebook with each widget; it has the name of its notebook."""
    for name, widget in WIDGETS.items():
        _write(folder / f"{name}.ipynb", f"{name} = cl.{widget}()\n{name}")
    _write(folder / "training.ipynb", TRAINING)
    _write(folder / "window.ipynb", WINDOW)
    _write(folder / "film.ipynb", FILM)
    _write(folder / "attending.ipynb", ATTENDING)
    _write(folder / "kernel.ipynb", KERNEL)
    _write(folder / "sampling.ipynb", SAMPLING)
    _write(folder / "ladder.ipynb", LADDER)
    _write(folder / "sketch.ipynb", SKETCH)


def _write(path: Path, source: str) -> None:
    sources = ("import course_lib as cl", source)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)


def command(page, name: str, **arguments) -> None:
    page.evaluate(
        "([name, given]) => window.jupyterapp.commands.execute(name, given)",
        [name, arguments],
    )


def open_notebook(page, url: str, path: str) -> None:
    page.goto(f"{url}lab/tree/{path}?reset")
    page.wait_for_function(READY, timeout=60_000)


def run_all(page) -> list:
    """Run every cell; the errors, as [cell, name, text]."""
    command(page, "notebook:run-all-cells")
    page.wait_for_function(READY, timeout=120_000)
    return page.evaluate(CLEARED)


def pictures(page) -> list[tuple[str, int]]:
    """The address of each picture in a lesson, and how wide it arrived: 0 is broken."""
    page.wait_for_selector(TITLE_PICTURE, state="attached")
    return [tuple(found) for found in page.evaluate(PICTURES)]


def theme(page, name: str) -> None:
    command(page, "apputils:change-theme", theme=f"JupyterLab {name}")
    light = "true" if name == "Light" else "false"
    page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")


def ask_kernel(page, code: str) -> str:
    """Run code in the notebook's kernel, beside its cells; what it printed."""
    return page.evaluate(ASK_KERNEL, code)


class CardInPage:
    """An explorer as the reader meets it. Waits for facts, never for time."""

    view: str  # the part that tells this explorer from others

    def __init__(self, page) -> None:
        self.page = page
        view = page.get_by_test_id(self.view)
        self.root = page.locator(".iw-card").filter(has=view).first
        self.root.wait_for()
        part = self.part(self.view)
        (part if part.is_visible() else self.root).scroll_into_view_if_needed()

    def __getitem__(self, name: str) -> str:
        return self.root.get_attribute(f"data-{name}")

    def part(self, name: str):
        return self.root.get_by_test_id(name)

    def status(self) -> str:
        return self.root.locator(".iw-status").inner_text()

    def act(self, do: Callable[[], object], state: str = "ready") -> None:
        """Do something and wait until Python has answered it."""
        before = int(self["seq"])
        do()
        self.page.wait_for_function(
            "([root, n]) => +root.dataset.seq > n && root.dataset.state !== 'busy'",
            arg=[self.root.element_handle(), before],
            timeout=30_000,
        )
        assert self["state"] == state, self.status()

    def pixels(self, part: str) -> np.ndarray:
        """What the reader sees of a part without its note, ``(H, W, 3)``."""
        self.page.evaluate(
            "() => new Promise((go) => requestAnimationFrame("
            "() => requestAnimationFrame(go)))"
        )
        hidden = ".iw-note { visibility: hidden; }"
        shot = Image.open(io.BytesIO(self.part(part).screenshot(style=hidden)))
        return np.asarray(shot.convert("RGB")).astype(int)

    def at(self, x: float, y: float, part: str = "") -> tuple[float, float]:
        """The place on the page of a point given in shares of the picture."""
        box = self.part(part or self.view).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, *points: tuple[float, float], part: str = "") -> None:
        mouse = self.page.mouse
        mouse.move(*self.at(*points[0], part))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(*point, part), steps=8)
        mouse.up()

    def set_range(self, name: str, value: float) -> None:
        self.part(name).evaluate(
            "(input, value) => { input.value = value; "
            "input.dispatchEvent(new Event('input', { bubbles: true })); }",
            str(value),
        )


class ExplorerInPage(CardInPage):
    """A hole explorer."""

    view = "hole-view"


class DiscountInPage(CardInPage):
    """A discount explorer."""

    view = "weight-view"


class TrainingInPage(CardInPage):
    """A training view."""

    view = "curves"

    def wait(self, fact: str) -> None:
        """Until something is true of the card's ``data``, written in JavaScript."""
        code = f"({{ dataset: data }}) => {fact}"
        self.page.wait_for_function(code, arg=self.root.element_handle())


class AttentionInPage(CardInPage):
    """An attention explorer."""

    view = "attention-view"


class ReadingInPage(CardInPage):
    """A reading explorer."""

    view = "reading-view"


class WindowInPage(CardInPage):
    """A window explorer."""

    view = "input-view"


class GateInPage(CardInPage):
    """A gate explorer."""

    view = "gate-view"


class KernelInPage(CardInPage):
    """A kernel explorer."""

    view = "kernel-photo"


class SamplingInPage(CardInPage):
    """A sampling explorer."""

    view = "sampling-view"


class MiningInPage(CardInPage):
    """A mining explorer."""

    view = "mining-view"


class LadderInPage(CardInPage):
    """A ladder explorer."""

    view = "ladder-view"

    def filled(self) -> None:
        """Wait until every fill and every answer is of the hole on show."""
        code = (
            "(root) => root.dataset.ready === 'true' && root.dataset.state === 'ready'"
        )
        code += " && !root.querySelector('.iw-tile.stale')"
        self.page.wait_for_function(code, arg=self.root.element_handle())


class SketchInPage(CardInPage):
    """A sketch pad."""

    view = "sketch-view"


class PainterInPage(CardInPage):
    """A hole painter."""

    view = "paint-view"

    def pixels(self, part: str = "result-view") -> np.ndarray:
        """What the reader sees of the result, or of another part."""
        return super().pixels(part)

    def finger(self, *points: tuple[float, float]) -> None:
        """Touch the picture, move along the points, and let go."""
        session = self.page.context.new_cdp_session(self.page)
        for i, point in enumerate(points):
            x, y = self.at(*point)
            kind = "touchStart" if i == 0 else "touchMove"
            event = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            session.send("Input.dispatchTouchEvent", event)
        event = {"type": "touchEnd", "touchPoints": []}
        session.send("Input.dispatchTouchEvent", event)
        session.detach()
