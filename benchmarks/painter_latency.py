"""How long the hole painter takes, from the end of a stroke to new pixels on screen.

    python benchmarks/painter_latency.py [strokes of each fill]

Opens a real JupyterLab in the system's Chromium and draws strokes with the mouse. The
page itself measures from its ``pointerup`` event to the first frame in which the
result differs. Aim at 256 x 256 on a CPU: median below 150 ms for the classical fills,
below 300 ms for the network.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from lab import (  # noqa: E402
    PainterInPage,
    ask_kernel,
    open_notebook,
    run_all,
    write_painter_notebook,
)
from labserver import BROWSER_ARGUMENTS, find_browser, lab_server  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

TOGETHER = 4  # strokes that make one hole: about 3, 6, 9 and 12 % of the photo
WATCH = """(canvas) => {
  const pixels = () =>
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const before = pixels();
  window.latency = new Promise((done) => {
    document.addEventListener('pointerup', () => {
      const start = performance.now();
      const look = () => {
        const now = pixels();
        const same = now.every((value, i) => value === before[i]);
        if (same) requestAnimationFrame(look);
        else done(performance.now() - start);
      };
      requestAnimationFrame(look);
    }, { capture: true, once: true });
  });
}"""


def clear(painter: PainterInPage) -> None:
    """Start with an empty hole, and wait until the page has drawn it."""
    ask_kernel(painter.page, "painter.look(painter.hole * 0)")
    painter.page.wait_for_function(
        "(root) => root.dataset.hole === '0'", arg=painter.root.element_handle()
    )
    painter.pixels()


def measure(painter: PainterInPage, strokes: int) -> tuple[list[float], list[float]]:
    """Milliseconds to new pixels, and those spent in the fill, for each stroke."""
    total, filling = [], []
    for k in range(strokes):
        if k % TOGETHER == 0:
            clear(painter)
        painter.part("result-view").evaluate(WATCH)
        y = 0.12 + 0.76 * k / max(1, strokes - 1)
        line = (0.15 + 0.3 * (k % 2), y), (0.75, y + 0.05)
        painter.act(lambda line=line: painter.drag(*line))
        total.append(painter.page.evaluate("() => window.latency"))
        filling.append(float(painter.status().split(" in ")[1].split()[0]))
    return total, filling


def main(strokes: int) -> None:
    """Print one row for each fill."""
    root = Path(tempfile.mkdtemp())
    write_painter_notebook(root / "painter.ipynb")
    with sync_playwright() as driver, lab_server(root, root / ".private") as url:
        browser = driver.chromium.launch(
            executable_path=find_browser(), args=BROWSER_ARGUMENTS
        )
        page = browser.new_page(viewport={"width": 1200, "height": 1100})
        open_notebook(page, url, "painter.ipynb")
        assert run_all(page) == []
        painter = PainterInPage(page)
        print(f"{strokes} strokes a fill, load {os.getloadavg()[0]:.1f}; milliseconds")
        print(f"{'fill':16s}{'median':>8s}{'p90':>8s}{'of it filling':>15s}")
        for label in ask_kernel(page, "print(*painter.fill_labels, sep='|')").split(
            "|"
        ):
            ask_kernel(page, f"painter.look(fill={label!r})")
            total, filling = measure(painter, strokes)
            high = statistics.quantiles(total, n=10)[-1]
            middle, inside = statistics.median(total), statistics.median(filling)
            print(f"{label:16s}{middle:8.0f}{high:8.0f}{inside:15.0f}", flush=True)
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
