"""The explorers in a real JupyterLab: by mouse, keys and touch, and what arrives.

One page serves all tests of the painter; each starts with an empty hole.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from lab import (
    AttentionInPage,
    DiscountInPage,
    ExplorerInPage,
    GateInPage,
    KernelInPage,
    LadderInPage,
    MiningInPage,
    PainterInPage,
    ReadingInPage,
    SamplingInPage,
    SketchInPage,
    TrainingInPage,
    WindowInPage,
    ask_kernel,
    command,
    open_notebook,
    pictures,
    run_all,
    theme,
)
from PIL import Image

from course_lib.widgets.mining_reading import KINDS

pytestmark = pytest.mark.browser

HIGH = 810  # pixels that a card may be high in a wide page
HOLE = "print(int(painter.hole.sum()))"
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebook(make_page, lab):
    page = make_page()
    open_notebook(page, lab, "painter.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def painter(notebook):
    card = PainterInPage(notebook)
    reset = "painter.brush, painter.live = 18, True\n"
    reset += "painter.look(painter.hole * 0, 'harmonic', painter.photo_labels[0])"
    assert ask_kernel(notebook, reset) == ""
    notebook.wait_for_function(
        "(root) => root.dataset.hole === '0'", arg=card.root.element_handle()
    )
    notebook.mouse.move(0, 0)
    card.part("brush-tool").check()
    card.set_range("wipe", 0)
    yield card
    assert notebook.problems == []


def changed(before, after):
    """Where two screenshots differ clearly, ``(H, W)``."""
    return np.abs(after - before).max(-1) > 40


def encoded(pixels, kind="png"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def picked(name, data):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


# ---- painting ----


def test_a_stroke_of_the_mouse_fills_the_photo(painter):
    before = painter.pixels()
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    painted = int(painter["hole"])
    assert 1000 < painted < 3000
    assert ask_kernel(painter.page, HOLE) == str(painted)
    assert painter["stage"] == "filled"
    share = 100 * painted / 256**2
    assert painter.status().startswith(f"Hole {share:.1f} % of the photo. Filled by")
    new = changed(before, painter.pixels())
    rows, columns = np.nonzero(new)
    height, width = new.shape
    assert new.sum() > 200
    assert rows.min() > 0.44 * height
    assert rows.max() < 0.56 * height
    assert columns.min() > 0.24 * width
    assert columns.max() < 0.66 * width


def test_the_hole_is_hatched_where_it_was_painted(painter):
    before = painter.pixels("paint-view")
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    new = changed(before, painter.pixels("paint-view"))
    height, width = new.shape
    middle = slice(int(0.48 * height), int(0.52 * height))
    assert new[middle, int(0.32 * width) : int(0.58 * width)].mean() > 0.6
    assert not new[: int(0.4 * height)].any()


def test_keys_move_paint_and_take_back(painter):
    canvas, keys = painter.part("paint-view"), painter.page.keyboard
    canvas.focus()
    for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "ArrowUp"):
        keys.press(key)
    assert painter.status() == "Brush at x 80, y 124."
    painter.act(lambda: keys.press("Space"))
    dot = int(painter["hole"])
    assert 230 < dot < 280, "a disc of 18 pixels"
    keys.down("Space")
    for _ in range(5):
        keys.press("ArrowRight")
    painter.act(lambda: keys.up("Space"))
    assert int(painter["hole"]) == pytest.approx(dot + 18 * 20, abs=12)
    assert ask_kernel(painter.page, HOLE) == painter["hole"]
    painter.act(lambda: keys.press("Control+z"))
    assert int(painter["hole"]) == dot
    painter.act(lambda: keys.press("Shift+Control+z"))
    assert int(painter["hole"]) > dot
    rows = "import numpy; print(*numpy.nonzero(painter.hole[0, 0].numpy())[0][[0, -1]])"
    assert ask_kernel(painter.page, rows) == "115 132"


def test_the_letters_of_the_notebook_do_nothing_here(painter):
    count = "() => window.jupyterapp.shell.currentWidget.model.cells.length"
    before = painter.page.evaluate(count)
    painter.part("paint-view").focus()
    for key in ("b", "a", "z", "d", "d", "x"):
        painter.page.keyboard.press(key)
        assert painter.page.evaluate(count) == before, key
    assert painter.root.is_visible()


def test_brackets_change_the_brush(painter):
    painter.part("paint-view").focus()
    for _ in range(5):
        painter.page.keyboard.press("[")
    assert painter.root.get_by_text("8 px", exact=True).is_visible()
    painter.act(lambda: painter.page.keyboard.press("Space"))
    assert 40 < int(painter["hole"]) < 60
    assert ask_kernel(painter.page, "print(painter.brush)") == "8"


def test_a_finger_paints(painter):
    painter.act(lambda: painter.page.touchscreen.tap(*painter.at(0.5, 0.5)))
    dot = int(painter["hole"])
    assert 230 < dot < 280
    painter.act(lambda: painter.finger((0.2, 0.2), (0.3, 0.2), (0.4, 0.2)))
    assert int(painter["hole"]) > dot + 700
    assert ask_kernel(painter.page, HOLE) == painter["hole"]


def test_undo_redo_clear_and_the_eraser(painter):
    original = painter.pixels()
    painter.act(lambda: painter.drag((0.2, 0.3), (0.7, 0.3)))
    one, filled = painter["hole"], painter.pixels()
    painter.act(lambda: painter.drag((0.2, 0.7), (0.7, 0.7)))
    two = painter["hole"]
    assert int(two) > int(one) > 0
    painter.act(lambda: painter.part("undo").click())
    assert painter["hole"] == one == ask_kernel(painter.page, HOLE)
    assert not changed(filled, painter.pixels()).any()
    painter.act(lambda: painter.part("redo").click())
    assert painter["hole"] == two == ask_kernel(painter.page, HOLE)
    painter.part("eraser").check()
    painter.act(lambda: painter.drag((0.2, 0.7), (0.45, 0.7)))
    assert int(one) < int(painter["hole"]) < int(two)
    painter.act(lambda: painter.part("clear").click())
    assert painter["hole"] == "0" == ask_kernel(painter.page, HOLE)
    assert painter["stage"] == "empty"
    assert painter.root.get_by_text("No hole yet: this is the original").count() == 2
    painter.act(lambda: painter.part("undo").click())
    assert int(painter["hole"]) > int(one), "even Clear can be taken back"
    painter.act(lambda: painter.part("clear").click())
    assert not changed(original, painter.pixels()).any()


def test_the_original_can_be_wiped_over_the_result(painter):
    original = painter.pixels()
    painter.act(lambda: painter.drag((0.2, 0.5), (0.8, 0.5)))
    filled = painter.pixels()
    width = filled.shape[1]
    assert changed(original, filled)[:, : width // 2].any()
    painter.set_range("wipe", 50)
    half = painter.pixels()
    left, right = slice(0, int(0.25 * width)), slice(int(0.75 * width), None)
    assert not changed(original, half)[20:, left].any()
    assert not changed(filled, half)[20:, right].any()
    painter.drag((0.5, 0.5), (0.999, 0.5), part="result-view")
    assert painter.part("wipe").input_value() == "100"
    assert not changed(original, painter.pixels())[40:, : int(0.97 * width)].any()


# ---- fills ----


def test_every_fill_can_be_chosen_and_compared(painter):
    painter.act(lambda: painter.drag((0.3, 0.5), (0.7, 0.5)))
    smooth = painter.pixels()
    painter.act(lambda: painter.part("fill").select_option("mean"))
    assert "Filled by mean" in painter.status()
    assert changed(smooth, painter.pixels()).any()
    labels = (
        painter.part("fill")
        .locator("option")
        .evaluate_all("(options) => options.map((option) => option.value)")
    )
    painter.part("compare").locator("summary").click()
    for label in labels:
        text = painter.part(f"tile-{label}").locator(".iw-value")
        painter.page.wait_for_function(
            "(value) => value.textContent.endsWith('dB')",
            arg=text.element_handle(),
        )
    painter.act(lambda: painter.part("tile-biharmonic").click())
    assert ask_kernel(painter.page, "print(painter.fill)") == "biharmonic"
    painter.part("compare").locator("summary").click()


def test_filling_can_wait_for_its_button(painter):
    assert not painter.part("run").is_visible()
    painter.part("live").uncheck()
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    assert painter["stage"] == "open"
    assert ask_kernel(painter.page, HOLE) == painter["hole"]
    painter.act(lambda: painter.part("run").click())
    assert painter["stage"] == "filled"


def test_a_fill_that_fails_is_shown_and_the_stroke_kept(painter):
    ask_kernel(
        painter.page,
        "good = painter._fills['mean']\n"
        "def bad(image, hole): raise ValueError('no colour left')\n"
        "painter._fills['mean'] = bad",
    )
    painter.act(lambda: painter.part("fill").select_option("mean"))
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)), state="error")
    assert painter.status().startswith("ValueError: no colour left (in bad, line 2)")
    assert ask_kernel(painter.page, HOLE) == painter["hole"]
    ask_kernel(painter.page, "painter._fills['mean'] = good")
    painter.act(lambda: painter.drag((0.3, 0.6), (0.6, 0.6)))
    assert painter["stage"] == "filled"


def test_work_that_nobody_waits_for_is_never_done(painter):
    ask_kernel(
        painter.page,
        "import time\n"
        "calls, quick = [], painter._fills['mean']\n"
        "def slow(image, hole):\n"
        "    time.sleep(2)\n"  # longer than strokes take on a busy machine
        "    calls.append(int(hole.sum()))\n"
        "    return quick(image, hole)\n"
        "painter._fills['mean'] = slow",
    )
    painter.act(lambda: painter.part("fill").select_option("mean"))

    def six_strokes():
        for k in range(6):
            painter.drag((0.2 + 0.1 * k, 0.3), (0.2 + 0.1 * k, 0.6))

    painter.drag((0.1, 0.3), (0.1, 0.6))
    painter.root.get_by_text("Filling with mean …").wait_for()
    painter.act(six_strokes)
    calls = ask_kernel(painter.page, "print(*calls); painter._fills['mean'] = quick")
    assert calls.split()[-1] == painter["hole"], "the newest stroke was filled"
    assert len(calls.split()) <= 4, "but not each of the seven"


def test_what_python_does_is_seen_in_the_page(painter):
    before = painter.pixels()
    ask_kernel(
        painter.page,
        "import torch\nhole = torch.zeros(1, 1, 256, 256)\n"
        "hole[..., 100:150, 80:160] = 1\npainter.look(hole, 'mean')",
    )
    painter.page.wait_for_function(
        "(root) => root.dataset.hole === '4000'", arg=painter.root.element_handle()
    )
    assert painter.part("fill").input_value() == "mean"
    assert changed(before, painter.pixels()).any()
    painter.act(lambda: painter.part("undo").click())
    assert painter["hole"] == "0" == ask_kernel(painter.page, HOLE)
    ask_kernel(painter.page, "painter.look(hole * 0 + 1)")
    painter.page.wait_for_function(
        "(root) => root.dataset.stage === 'full'", arg=painter.root.element_handle()
    )
    assert "nothing is known" in painter.status()


# ---- photos ----


def test_another_photo_keeps_the_hole(painter):
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    painted, before = painter["hole"], painter.pixels()
    painter.act(lambda: painter.part("photo-1").check())
    assert changed(before, painter.pixels()).mean() > 0.2
    assert painter["hole"] == painted == ask_kernel(painter.page, HOLE)
    same = "print(painter.photo == painter.photo_labels[1])"
    assert ask_kernel(painter.page, same) == "True"


def test_an_own_photo_is_shown_and_a_broken_one_loses_nothing(painter):
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    green = np.zeros((300, 400, 3), np.uint8) + np.array([20, 200, 60], np.uint8)
    file = picked("garden.jpg", encoded(green, "jpeg"))
    painter.act(lambda: painter.part("upload").set_input_files(file))
    assert ask_kernel(painter.page, "print(painter.photo)") == "garden.jpg"
    shown = painter.pixels()
    assert np.abs(shown[60, 60] - [20, 200, 60]).max() < 12
    assert painter["hole"] == ask_kernel(painter.page, HOLE) != "0"

    broken = picked("notes.jpg", b"these are words, not pixels")
    painter.act(lambda: painter.part("upload").set_input_files(broken), state="error")
    assert "notes.jpg is not a picture" in painter.status()
    assert ask_kernel(painter.page, "print(painter.photo)") == "garden.jpg"
    assert not changed(shown, painter.pixels()).any()
    painter.act(lambda: painter.drag((0.3, 0.7), (0.6, 0.7)))
    assert painter["stage"] == "filled"


def test_a_large_photo_arrives_and_a_huge_one_is_refused(painter, tmp_path):
    large, huge = tmp_path / "large.bmp", tmp_path / "huge.png"
    Image.new("RGB", (1950, 1950), "teal").save(large)
    assert 11e6 < large.stat().st_size < 12e6, "more than one message may hold"
    seen = int(painter["seq"])
    painter.part("upload").set_input_files(large)
    painter.page.wait_for_function(
        "([root, n]) => +root.dataset.seq >= n && root.dataset.state === 'ready'",
        arg=[painter.root.element_handle(), seen + 6],
    )
    assert ask_kernel(painter.page, "print(painter.photo)") == "large.bmp"
    huge.write_bytes(bytes(12_500_000))
    seen = painter["seq"]
    painter.part("upload").set_input_files(huge)
    painter.root.get_by_text("huge.png has 12.5 MB, more than 12 MB.").wait_for()
    assert painter["seq"] == seen, "nothing was sent"


# ---- the page ----


def test_every_control_has_a_name_and_can_be_reached(painter):
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    painter.act(lambda: painter.drag((0.3, 0.6), (0.6, 0.6)))
    painter.act(lambda: painter.part("undo").click())
    painter.part("photo-0").focus()
    reached = []
    for _ in range(14):
        reached.append(
            painter.page.evaluate(
                "() => document.activeElement.dataset.testid ?? "
                "document.activeElement.tagName"
            )
        )
        painter.page.keyboard.press("Tab")
    expected = ["photo-0", "own-photo", "paint-view", "brush-tool", "brush", "undo"]
    expected += ["redo", "clear", "fill", "wipe", "live", "SUMMARY"]
    assert reached[: len(expected)] == expected
    for role, name in [
        ("application", "Photo to paint on. Arrow keys move the brush, Space paints."),
        ("radio", "Brush"),
        ("radio", "Eraser"),
        ("slider", "brush size"),
        ("slider", "share of the width that shows the original, in percent"),
        ("combobox", "filled by"),
        ("checkbox", "fill after every stroke"),
        ("img", "The filled photo"),
        ("button", "Your photo"),
    ]:
        assert painter.root.get_by_role(role, name=name).count() == 1, name


def test_wide_and_narrow_light_and_dark(painter, screenshots):
    """Nothing sticks out; the pictures are kept for a person to look at."""
    page = painter.page
    painter.act(lambda: painter.drag((0.25, 0.3), (0.5, 0.45), (0.7, 0.35)))
    painter.act(lambda: painter.drag((0.55, 0.6), (0.75, 0.75)))
    for width, height in ((1200, 1100), (700, 1300)):
        page.set_viewport_size({"width": width, "height": height})
        for name in ("Dark", "Light"):
            theme(page, name)
            painter.pixels()
            page.screenshot(path=screenshots / f"painter_{width}_{name.lower()}.png")
        overflow = "(root) => root.scrollWidth - root.clientWidth"
        assert painter.root.evaluate(overflow) <= 0
        left, right = (
            painter.part(part).bounding_box() for part in ("paint-view", "result-view")
        )
        beside = width == 1200
        assert (right["x"] > left["x"] + left["width"]) == beside
        assert left["width"] == pytest.approx(left["height"], abs=1)
    page.set_viewport_size({"width": 1200, "height": 1100})


def test_a_reload_of_the_page_keeps_the_hole(painter):
    """Runs last: it opens the page anew."""
    painter.act(lambda: painter.drag((0.3, 0.5), (0.6, 0.5)))
    painter.act(lambda: painter.part("fill").select_option("mean"))
    painted, before = painter["hole"], painter.pixels()
    command(painter.page, "docmanager:save")
    painter.page.reload()
    again = PainterInPage(painter.page)
    assert again["hole"] == painted
    assert again.part("fill").input_value() == "mean"
    assert not changed(before, again.pixels()).any()
    again.act(lambda: again.drag((0.3, 0.7), (0.6, 0.7)))
    assert int(again["hole"]) > int(painted)


# ---- the hole explorer ----


def test_the_explorer_follows_clicks_and_keys(make_page, lab, screenshots):
    page = make_page()
    open_notebook(page, lab, "explorer.ipynb")
    assert run_all(page) == []
    explorer = ExplorerInPage(page)
    facts = "print(explorer.shown['ratio'], explorer.settings['width'])"

    def missing():
        return explorer.part("fact-missing").inner_text()

    first, hole = missing(), explorer.pixels("hole-view")
    assert ask_kernel(page, facts) == f"{first} missing 0.16"
    explorer.act(lambda: explorer.part("another").click())
    assert explorer["seed"] == "1"
    second = missing()
    assert second != first
    assert changed(hole, explorer.pixels("hole-view")).any()
    assert ask_kernel(page, facts) == f"{second} missing 0.16"
    explorer.part("width").focus()
    explorer.act(lambda: page.keyboard.press("End"))
    assert float(missing().removesuffix(" %")) > float(second.removesuffix(" %"))
    assert ask_kernel(page, facts) == f"{missing()} missing 0.4"
    for name in ("Dark", "Light"):
        theme(page, name)
        explorer.pixels("hole-view")
        explorer.root.screenshot(path=screenshots / f"hole_{name.lower()}.png")
    assert explorer.root.bounding_box()["height"] <= HIGH
    assert page.problems == []


# ---- the discount explorer ----


@pytest.fixture
def discount(make_page, lab):
    page = make_page()
    open_notebook(page, lab, "discount.ipynb")
    assert run_all(page) == []
    yield DiscountInPage(page)
    assert page.problems == []


def test_gamma_and_the_hole_follow_hand_and_keys(discount):
    page, keys = discount.page, discount.page.keyboard
    facts = "print(f'{discount.gamma:g}', *discount.shown['box'])"
    before, row = discount.pixels("weight-view"), discount.pixels("profile")
    discount.act(lambda: discount.part("gamma-0.7").check())
    assert changed(before, discount.pixels("weight-view")).sum() > 500
    assert changed(row, discount.pixels("profile")).any()
    assert ask_kernel(page, facts) == "0.7 49 49 30 30"
    bar = 'root => root.previousSibling.style.getPropertyValue("--weight")'
    for gamma in ("0.94", "1"):
        discount.act(lambda gamma=gamma: discount.part(f"gamma-{gamma}").check())
        share = float(discount.part("ring-1").inner_text().removesuffix(" %"))
        length = float(discount.part("ring-1").evaluate(bar).removesuffix("%"))
        assert abs(length - share) < 0.06, "one scale for every gamma"
    discount.part("gamma").focus()
    discount.act(lambda: keys.press("ArrowLeft"))
    assert ask_kernel(page, facts) == "0.99 49 49 30 30"
    discount.act(lambda: discount.drag((0.45, 0.45), (0.45 + 20 / 128, 0.45)))
    assert ask_kernel(page, facts) == "0.99 49 69 30 30"
    corner = (99 / 128, 79 / 128)
    discount.act(lambda: discount.drag(corner, (109 / 128, 74 / 128)))
    assert ask_kernel(page, facts) == "0.99 49 69 25 40"
    discount.part("weight-view").focus()
    discount.act(lambda: keys.press("Shift+ArrowUp"))
    discount.part("height").focus()
    discount.act(lambda: keys.press("ArrowRight"))
    assert ask_kernel(page, facts) == "0.99 48 69 26 40"


def test_a_click_asks_a_pixel_what_it_weighs(discount):
    page = discount.page
    told = "print(f\"{discount.shown['distance']:.1f} {discount.shown['weight']:.3f}\")"
    discount.act(lambda: page.mouse.click(*discount.at(55.5 / 128, 52.5 / 128)))
    assert (discount["row"], discount["column"]) == ("52", "55")
    assert ask_kernel(page, told) == "4.0 0.656"
    assert "4.0 px deep, weight 0.656" in discount.part("fact-asked-pixel").inner_text()
    discount.act(lambda: page.keyboard.press("ArrowUp"))
    assert ask_kernel(page, told) == "3.0 0.729"
    discount.act(lambda: page.mouse.click(*discount.at(0.1, 0.2)))
    assert discount.status().endswith("known, weight 1.")
    discount.act(lambda: page.keyboard.press("Home"))
    assert ask_kernel(page, told) == "15.0 0.206"


def test_the_published_code_is_shown_and_a_whole_hole_refused(discount, screenshots):
    page, pictures_of = discount.page, []
    discount.act(lambda: discount.part("free-form").check())
    assert not discount.part("height").is_visible()
    for view in ("ours", "code", "gap"):
        discount.part(f"view-{view}").check()
        pictures_of.append(discount.pixels("weight-view"))
    first, second, third = pictures_of
    assert changed(first, second).any()
    assert changed(second, third).any()
    discount.act(lambda: discount.part("rectangle").check())
    discount.set_range("height", 128)
    discount.act(lambda: discount.set_range("width", 128), state="error")
    assert "covers its whole picture" in discount.status()
    assert discount["box"].endswith("30"), "the last good hole stays"
    for name in ("Dark", "Light"):
        theme(page, name)
        discount.pixels("weight-view")
        discount.root.screenshot(path=screenshots / f"discount_{name.lower()}.png")
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    assert discount.root.evaluate(overflow) <= 0


# ---- the training view ----


def test_a_training_is_watched_scrubbed_and_interrupted(make_page, lab, screenshots):
    page = make_page()
    open_notebook(page, lab, "training.ipynb")
    assert run_all(page) == []
    view = TrainingInPage(page)
    assert view["pictures"] == "0"
    high = view.root.bounding_box()["height"]
    view.root.screenshot(path=screenshots / "training_before.png")
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    code = (
        "done = cl.training.fit(step, iter(range(10**6)), steps=2000, watch=training)"
    )
    page.evaluate(f"(code) => void {kernel}.requestExecute({{ code }})", code)
    view.wait("+data.pictures >= 4 && data.follows === 'true'")
    grown = view.root.bounding_box()["height"] - high
    assert abs(grown) < 20, "room was kept"
    view.part("moment").focus()
    page.keyboard.press("Home")
    assert (view["step"], view["follows"]) == ("0", "false")
    page.keyboard.press("ArrowRight")
    first = int(view["step"])
    assert first > 0
    assert page.evaluate(f"() => {kernel}.status") == "busy"  # nobody there to ask
    view.wait(f"+data.done > {view['done']}")
    assert view["step"] == str(first)
    middle = view.pixels("picture").mean((0, 1))
    assert np.abs(middle - 255 * (first - 1) / 1000).max() < 8
    for name in ("Light", "Dark"):
        theme(page, name)
        view.root.screenshot(path=screenshots / f"training_{name.lower()}.png")
    page.evaluate(f"() => {kernel}.interrupt()")
    page.wait_for_function(f"() => {kernel}.status === 'idle'")
    steps = int(ask_kernel(page, "print(done.steps)"))
    view.wait(f"data.done === '{steps}'")
    assert view.status().startswith(f"Interrupted after {steps} of 2000: ")
    page.keyboard.press("End")
    assert (view["step"], view["follows"]) == (str(steps), "true")
    box = view.part("curves").bounding_box()
    page.mouse.click(box["x"] + 50, box["y"] + box["height"] / 2)
    assert int(view["step"]) < steps / 2
    few = "_ = cl.training.fit(step, iter(range(3)), steps=3, watch=training)"
    ask_kernel(page, few)
    view.wait("data.done === '3'")
    view.pixels("curves")
    ticks = view.part("curves").locator(".below")
    assert ticks.all_text_contents() == ["0", "1", "2", "3"]
    assert page.problems == []


# ---- the reading explorer ----


@pytest.fixture
def reading(make_page, lab):
    page = make_page()
    open_notebook(page, lab, "reading.ipynb")
    assert run_all(page) == []
    yield ReadingInPage(page)
    assert page.problems == []


def test_a_click_asks_what_a_pixel_reads(reading, screenshots):
    page, asked = reading.page, "print(reading.shown['row'], reading.shown['column'])"
    before, row = reading.pixels("reading-view"), reading.pixels("influence-row")
    place = reading.at(45.5 / 128, 50.5 / 128, "answer-view")
    reading.act(lambda: page.mouse.click(*place))
    assert (reading["row"], reading["column"]) == ("50", "45")
    assert changed(before, reading.pixels("reading-view")).sum() > 1000
    assert changed(row, reading.pixels("influence-row")).any()
    for key in ("ArrowRight", "Shift+ArrowDown"):
        reading.act(lambda key=key: page.keyboard.press(key))
    assert ask_kernel(page, asked) == "58 46"
    assert reading.part("fact-under-the-hole").inner_text() == "exactly 0"
    square = "print(max(reading.shown['square'][2:]))"
    side = ask_kernel(page, square)
    assert reading.part("fact-95-%-comes-from").inner_text() == f"{side} px a side"
    assert f"in a square of {side} px" in reading.status()
    reading.act(lambda: page.keyboard.press("Home"))
    assert ask_kernel(page, asked) == "63 63"
    for name in ("Dark", "Light"):
        theme(page, name)
        reading.pixels("reading-view")
        reading.root.screenshot(path=screenshots / f"reading_{name.lower()}.png")
    assert reading.root.bounding_box()["height"] <= HIGH
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    assert reading.root.evaluate(overflow) <= 0


def test_another_fill_colour_changes_the_answer(reading, screenshots):
    page, keys = reading.page, reading.page.keyboard
    assert not reading.part("fill").is_visible()
    reading.act(lambda: reading.part("mode-sweep").check())
    assert reading.part("change-0.5").inner_text() == "0"
    first = reading.pixels("answer-view")
    reading.act(lambda: reading.part("fill-1").check())
    assert changed(first, reading.pixels("answer-view")).sum() > 1000
    told = "print(f'{255 * reading.change:.1f} of 255')"
    mean = reading.part("fact-mean-change").inner_text()
    assert ask_kernel(page, told) == mean != "0.0 of 255"
    assert reading.part("change-1").inner_text() == mean.removesuffix(" of 255")
    reading.part("fill").focus()
    reading.act(lambda: keys.press("ArrowLeft"))
    assert reading["fill"] == "0.95"
    assert ask_kernel(page, told) == reading.part("fact-mean-change").inner_text()
    reading.act(lambda: reading.part("fill-noise").check())
    second = reading.pixels("answer-view")
    reading.part("answer-gap").check()
    assert changed(second, reading.pixels("answer-view")).sum() > 1000
    reading.root.screenshot(path=screenshots / "reading_sweep.png")
    assert reading.root.bounding_box()["height"] <= HIGH
    assert ask_kernel(page, "print(reading._network.fill)") == "0.5"
    ask_kernel(page, "def broken(*pair): raise ValueError('no answer today')")
    ask_kernel(page, "reading._network.forward = broken")
    reading.act(lambda: reading.part("fill-0").click(), state="error")
    assert reading.status().startswith("ValueError: no answer today (in broken")
    assert reading.part("fill-noise").is_checked(), "the last good answer stays"


# ---- the window explorer ----


def test_a_window_is_followed_through_the_layers(make_page, lab, screenshots):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "window.ipynb")
    assert run_all(page) == []
    window, keys = WindowInPage(page), page.keyboard
    asked = "print(*[window.shown[k] for k in ('name', 'row', 'column', 'channel')])"
    assert window["layer"] == "encoder.0"
    assert window.part("unknown").inner_text() == "20.5 % unknown"
    before, film = window.pixels("after-view"), window.pixels("film-encoder.1")
    window.part("layer").focus()
    window.act(lambda: keys.press("ArrowRight"))
    assert window.part("unknown").inner_text() == "16.5 % unknown"
    assert changed(before, window.pixels("after-view")).sum() > 1000
    assert changed(film, window.pixels("film-encoder.1")).any()
    window.act(lambda: window.part("film-encoder.3").click())
    place = window.at(4.5 / 8, 4.5 / 8, "after-view")
    window.act(lambda: page.mouse.click(*place))
    assert ask_kernel(page, asked) == "encoder.3 4 4 0"
    assert "empty window" in window.status()
    window.act(lambda: keys.press("ArrowLeft"))
    assert ask_kernel(page, asked) == "encoder.3 4 3 0"
    ratio = "print(f\"= {window.shown['ratio']:.2f}\")"
    assert window.part("fact-ratio").inner_text().endswith(ask_kernel(page, ratio))
    window.act(lambda: window.set_range("layer", 0))
    window.act(lambda: keys.press("Home"))
    assert ask_kernel(page, asked) == "encoder.0 17 31 0"
    window.act(lambda: window.set_range("layer", 8))
    assert not window.part("fact-known-places").count()
    skip = window.pixels("input-view")
    window.part("part-decoder").check()
    assert changed(skip, window.pixels("input-view")).sum() > 1000
    assert window.part("taps-skip").is_visible()
    window.act(lambda: window.set_range("channel", 5))
    value = "print(f\"{window.shown['partial']:.3f}\")"
    assert ask_kernel(page, value) == window.part("value-partial").inner_text()
    for name in ("Dark", "Light"):
        theme(page, name)
        window.pixels("after-view")
        window.root.screenshot(path=screenshots / f"window_{name.lower()}.png")
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    assert window.root.evaluate(overflow) <= 0
    assert window.root.bounding_box()["height"] <= 820
    for width in (800, 760, 740, 560):
        window.root.evaluate("(root, w) => (root.style.maxWidth = `${w}px`)", width)
        for caption in window.root.locator(".iw-trio .iw-cap").all():
            assert caption.bounding_box()["height"] <= 29, width
            assert caption.evaluate(overflow) <= 0, width
    window.root.evaluate("(root) => (root.style.maxWidth = '')")
    names = window.root.locator(".iw-frame-of-film .iw-name")
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 1000})
    window.pixels("after-view")
    assert all(name.is_visible() for name in names.all())
    assert window.root.evaluate(overflow) <= 0
    window.root.screenshot(path=screenshots / "window_narrow.png")
    assert page.problems == []


# ---- the gate explorer ----


def test_a_gate_is_found_and_asked(make_page, lab, screenshots):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "gate.ipynb")
    assert run_all(page) == []
    gate, keys = GateInPage(page), page.keyboard
    asked = "print(*[gate.shown[k] for k in ('name', 'channel', 'row', 'column')])"
    facts = "print(*[f'{gate.shown[k]:.2f}' for k in ('inside', 'outside', 'auc')])"

    def told():
        names = ("inside", "outside", "area")
        return " ".join(gate.part(f"gate-{name}").inner_text() for name in names)

    assert (gate["layer"], gate["row"], gate["column"]) == ("encoder.0", "63", "63")
    assert ask_kernel(page, facts) == told()
    assert gate.part("auc").inner_text() == f"AUC {told().split()[2]}"
    first = gate.pixels("gate-view")
    order = ask_kernel(page, "print(*gate.shown['order'])").split()
    radios = gate.part("gallery").locator("input")
    assert [radio.get_attribute("value") for radio in radios.all()] == order
    gate.act(lambda: gate.part(f"gate-{order[0]}").check())
    gate.act(lambda: keys.press("ArrowRight"))
    assert gate["channel"] == order[1]
    assert ask_kernel(page, facts) == told()
    assert changed(first, gate.pixels("gate-view")).sum() > 1000
    gate.part("layer").focus()
    gate.act(lambda: keys.press("ArrowRight"))
    assert gate["layer"] == "encoder.1"
    before, film = gate.pixels("gate-view"), gate.pixels("film-encoder.3")
    bars = gate.pixels("place-bars")
    gate.act(lambda: gate.drag((0.5, 0.5), (0.5, 0.5 + 20 / 128), part="photo-view"))
    assert gate["box"] == "61 41 45 45" == ask_kernel(page, "print(*gate.shown['box'])")
    for part, old in (("gate-view", before), ("film-encoder.3", film)):
        assert changed(old, gate.pixels(part)).any()
    gate.act(lambda: page.mouse.click(*gate.at(10.5 / 32, 4.5 / 32)))
    assert ask_kernel(page, asked) == f"encoder.1 {gate['channel']} 18 42"
    assert changed(bars, gate.pixels("place-bars")).any()
    gate.act(lambda: keys.press("ArrowDown"))
    assert gate["row"] == "22", "a cell of this layer has four pixels"
    opened = "print(gate.shown['open_here'], 'of', len(gate.shown['here']), 'above ½')"
    assert gate.part("open-here").inner_text() == ask_kernel(page, opened)
    gate.part("photo-view").focus()
    for key in ("Shift+ArrowUp", "+"):
        gate.act(lambda key=key: keys.press(key))
    assert gate["box"] == "59 40 47 47"
    gate.act(lambda: keys.press("Home"))
    assert gate["row"] == "82"
    rule = gate.pixels("rule-view")
    gate.act(lambda: gate.part("hole-strokes").check())
    assert changed(rule, gate.pixels("rule-view")).any()
    share = "print(f'{100 * float(gate.layers[\"encoder.1\"].rule.mean()):.1f} % open')"
    assert gate.part("rule-open").inner_text() == ask_kernel(page, share)
    gate.act(lambda: gate.part("photo-hedgehog").check())
    assert ask_kernel(page, facts) == told()
    for name in ("Dark", "Light"):
        theme(page, name)
        gate.pixels("gate-view")
        gate.root.screenshot(path=screenshots / f"gate_{name.lower()}.png")
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    assert gate.root.evaluate(overflow) <= 0
    assert gate.root.bounding_box()["height"] <= 830
    gate.act(lambda: gate.part("hole-none").check())
    assert "AUC is undefined" in gate.status()
    assert told().split()[::2] == ["–", "–"]
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 1000})
    gate.pixels("gate-view")
    assert gate.root.evaluate(overflow) <= 0
    gate.root.screenshot(path=screenshots / "gate_narrow.png")
    assert page.problems == []


def test_a_film_of_many_layers_scrolls_inside_the_card(make_page, lab, screenshots):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "film.ipynb")
    assert run_all(page) == []
    gate = GateInPage(page)
    tile = gate.part("film-fine.4")
    reel = gate.root.locator(".iw-reel")
    inside = """(tile) => {
      const [a, b] = [tile, tile.parentNode].map((e) => e.getBoundingClientRect());
      return a.left >= b.left && a.right <= b.right;
    }"""
    assert tile.locator(".iw-name").inner_text() == "fine 4"
    assert not tile.evaluate(inside)
    gate.act(lambda: gate.set_range("layer", 20))
    assert gate["layer"] == ask_kernel(page, "print(film.shown['name'])") == "fine.4"
    assert tile.evaluate(inside)
    assert reel.evaluate("(reel) => reel.scrollWidth - reel.clientWidth") > 500
    scale = gate.part("gate-histogram").locator(".start").first
    assert scale.text_content() == "100 %"
    assert "No rule" not in gate.root.inner_text()
    gate.root.screenshot(path=screenshots / "film.png")
    gate.root.evaluate("(root) => (root.style.maxWidth = '430px')")
    gate.pixels("gate-view")
    assert tile.evaluate(inside), "it is in view again when the card is narrower"
    assert gate.root.evaluate("(root) => root.scrollWidth - root.clientWidth") <= 0
    assert page.problems == []


# ---- the sketch pad ----

LINES = "print(int(pad.sketch.sum()), int((pad.sketch * pad.hole).sum()))"


@pytest.fixture(scope="module")
def sketch_page(make_page, lab):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "sketch.ipynb")
    assert run_all(page) == []
    ask_kernel(page, "start = pad.hole")
    return page


@pytest.fixture
def pad(sketch_page):
    card = SketchInPage(sketch_page)
    reset = "_ = pad.look(start * 0, start, pad.photo_labels[0])\n"
    told = ask_kernel(sketch_page, reset + "print(int(start.sum()))")
    sketch_page.wait_for_function(
        "([{ dataset: d }, hole]) => d.counted + d.outside === '00' && d.hole === hole",
        arg=[card.root.element_handle(), told],
    )
    card.part("layer-lines").check()
    card.part("tool-draw").check()
    yield card
    assert sketch_page.problems == []


def test_a_line_reaches_the_kernel_and_the_fill_follows_it(pad):
    page, names = pad.page, ("with-0", "without-0", "with-1")
    before = [pad.pixels(name) for name in names]
    pad.act(lambda: pad.drag((0.2, 0.5), (0.6, 0.55)))
    counted, outside = int(pad["counted"]), int(pad["outside"])
    assert 36 <= counted <= 42, "from the rim at column 38 to column 76"
    assert counted + outside == 52, "one pixel for each column"
    assert ask_kernel(page, LINES) == f"52 {counted}"
    followed, plain, deaf = (pad.pixels(name) for name in names)
    assert changed(before[0], followed).sum() > 200
    assert not changed(before[1], plain).any()
    assert not changed(before[2], deaf).any(), "another network that hears nothing"
    error = "print(f\"hole L1 {pad.shown['networks'][0]['with']['l1']:.3f}\")"
    assert pad.part("facts-with-0").inner_text().startswith(ask_kernel(page, error))
    assert pad.status().startswith(f"{counted} line pixels count, {outside} outside")
    pad.part("tool-erase").check()
    pad.act(lambda: pad.drag((0.1, 0.5), (0.26, 0.5)))
    assert int(pad["outside"]) < outside
    assert int(pad["counted"]) == counted
    pad.act(lambda: pad.part("clear").click())
    assert ask_kernel(page, LINES) == "0 0"
    assert not changed(before[0], pad.pixels("with-0")).any()
    for _ in range(2):
        pad.act(lambda: pad.part("undo").click())
    assert ask_kernel(page, LINES) == f"52 {counted}"


def test_keys_put_the_pen_down_and_lift_it(pad):
    page, keys = pad.page, pad.page.keyboard
    pad.part("sketch-view").focus()
    keys.press("Shift+ArrowLeft")
    assert pad.status() == "Pen at row 64, column 56, in the hole."
    pad.act(lambda: keys.press("Space"))
    for _ in range(5):
        keys.press("ArrowDown")
    assert pad.status() == "Pen at row 69, column 56, in the hole, down."
    pad.act(lambda: keys.press("Space"))
    keys.press("ArrowDown")
    assert ask_kernel(page, LINES) == "6 6"
    where = "print(*pad.sketch[0, 0].nonzero()[[0, -1]].flatten().tolist())"
    assert ask_kernel(page, where) == "64 56 69 56"
    keys.down("Space")
    keys.press("Shift+ArrowRight")
    pad.act(lambda: keys.up("Space"))
    assert ask_kernel(page, LINES) == "15 15", "held, it draws like a mouse"
    pad.act(lambda: keys.press("Control+z"))
    assert ask_kernel(page, LINES) == "6 6"
    pad.act(lambda: keys.press("Control+z"))
    assert ask_kernel(page, LINES) == "0 0"
    pad.act(lambda: keys.press("Shift+Control+z"))
    assert pad["counted"] == "6"


def test_a_finger_and_python_draw_too(pad):
    pad.act(lambda: pad.page.touchscreen.tap(*pad.at(0.5, 0.5)))
    assert ask_kernel(pad.page, LINES) == "1 1"
    code = "_ = pad.draw(torch.eye(128)[None, None])"
    assert ask_kernel(pad.page, code) == ""
    wait = "(root) => root.dataset.counted === '51'"
    pad.page.wait_for_function(wait, arg=pad.root.element_handle())
    assert pad["outside"] == "77"


def test_the_hole_is_repainted_and_edges_are_said_to_be_given(pad, screenshots):
    page = pad.page
    pad.act(lambda: pad.drag((0.1, 0.15), (0.3, 0.15)))
    assert pad["counted"] == "0"
    before = int(pad["hole"])
    pad.part("layer-hole").check()
    pad.act(lambda: pad.drag((0.05, 0.15), (0.35, 0.15)))
    assert int(pad["hole"]) > before + 300
    assert ask_kernel(page, "print(int(pad.hole.sum()))") == pad["hole"]
    assert int(pad["counted"]) > 20, "the hole came to the line"
    pad.act(lambda: pad.part("undo").click())
    assert (pad["hole"], pad["counted"]) == (str(before), "0")
    pad.part("layer-lines").check()
    pad.act(lambda: pad.part("edges").click())
    edges = "cl.sketch.edges(pad.image) * pad.hole"
    assert ask_kernel(page, f"print(torch.equal(pad.sketch, {edges}))") == "True"
    assert int(pad["given"]) == int(pad["counted"]) > 20
    note = pad.root.get_by_text("no inpainting result")
    assert note.is_visible()
    pad.act(lambda: pad.part("undo").click())
    assert pad["given"] == "0"
    assert not note.is_visible()
    pad.act(lambda: pad.part("photo-2").check())
    assert ask_kernel(page, "print(pad.photo == pad.photo_labels[2])") == "True"
    assert pad.part("undo").is_disabled(), "the lines went with their photo"
    picture = encoded(np.full((90, 60, 3), 200, np.uint8))
    pad.act(lambda: pad.part("upload").set_input_files(picked("mine.png", picture)))
    assert pad["photo"] == "mine.png"


SHORT_STROKE = """async (view) => {
  const { left, top, width, height } = view.getBoundingClientRect();
  view.setPointerCapture = () => {};
  const send = (name, x) => {
    const place = { clientX: left + x * width, clientY: top + 0.5 * height };
    const more = { bubbles: true, button: 0, buttons: 1, pointerId: 1 };
    view.dispatchEvent(new PointerEvent(name, { ...more, ...place }));
  };
  const start = performance.now();
  send("pointerdown", 0.4);
  for (let k = 1; k <= 5; k++) {
    send("pointermove", 0.4 + 0.03 * k);
    await new Promise((go) => setTimeout(go, 45));
  }
  send("pointerup", 0.55);
  return performance.now() - start;
}"""


def test_a_short_stroke_is_asked_about_once(pad):
    page, before = pad.page, int(pad["seq"])
    took = pad.part("sketch-view").evaluate(SHORT_STROKE)
    page.wait_for_function(
        "([{ dataset: d }, n]) => +d.seq > n && d.state === 'ready'",
        arg=[pad.root.element_handle(), before],
    )
    assert int(pad["counted"]) > 5
    assert int(pad["seq"]) - before <= 1 + took // 350, "a long one is followed"
    assert ask_kernel(page, LINES).split()[1] == pad["counted"]


def test_the_sketch_pad_fits_its_page(pad, screenshots):
    page = pad.page
    pad.act(lambda: pad.drag((0.2, 0.45), (0.5, 0.35), (0.8, 0.6)))
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    for name in ("Dark", "Light"):
        theme(page, name)
        pad.pixels("sketch-view")
        pad.root.screenshot(path=screenshots / f"sketch_{name.lower()}.png")
    assert pad.root.bounding_box()["height"] <= 820
    assert pad.root.evaluate(overflow) <= 0
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 1000})
    pad.pixels("sketch-view")
    assert pad.root.evaluate(overflow) <= 0
    pad.root.screenshot(path=screenshots / "sketch_narrow.png")


@pytest.fixture(scope="module")
def attention_page(make_page, lab):
    page = make_page(1200, 1000)
    open_notebook(page, lab, "attention.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def attention(attention_page):
    card = AttentionInPage(attention_page)
    code = "_ = attention.set(photo='lincolnmemorial', box=(45, 45, 38, 38), "
    code += "softmax_scale=10, propagation=True).look(0, 0).look()"
    assert ask_kernel(attention_page, code) == ""
    wait = "({ dataset: d }) => d.row === '63' && d.box === '45 45 38 38'"
    attention_page.wait_for_function(wait, arg=card.root.element_handle())
    return card


# A click as a reader makes them, half a second apart: from its event to the facts.
ANSWERED = """async ([root, view, points]) => {
  const { left, top, width, height } = view.getBoundingClientRect();
  const seen = [];
  for (const [x, y] of points) {
    const place = { clientX: left + x * width, clientY: top + y * height };
    const before = +root.dataset.seq;
    const answered = new Promise((go) => {
      const watch = new MutationObserver(() => {
        if (+root.dataset.seq === before) return;
        watch.disconnect();
        go(performance.now());
      });
      watch.observe(root, { attributes: true });
    });
    const start = performance.now();
    const both = { bubbles: true, button: 0, pointerId: 1, ...place };
    view.setPointerCapture = () => {};
    view.dispatchEvent(new PointerEvent("pointerdown", both));
    view.dispatchEvent(new PointerEvent("pointerup", both));
    seen.push((await answered) - start);
    await new Promise((go) => setTimeout(go, 500));
  }
  return seen;
}"""


def test_a_click_asks_where_a_patch_is_copied_from(attention):
    page = attention.page
    before = attention.pixels("attention-view")
    attention.act(lambda: page.mouse.click(*attention.at(0.41, 0.6)))
    assert attention["row"] == "76"
    assert changed(before, attention.pixels("attention-view")).any()
    facts = "s = attention.shown; t = s['top'][0]; "
    facts += "print(t['row'], t['column'], format(t['share'], '.4f'), "
    facts += "format(s['entropy'], '.2f'))"
    told = f"{attention['best']} {attention['share']} {attention['entropy']}"
    assert ask_kernel(page, facts) == told
    share = f"{100 * float(attention['share']):.1f} %"
    assert attention.part("share-0").inner_text() == share
    assert share in attention.status()
    assert attention["entropy"] in attention.part("fact-entropy").inner_text()
    attention.act(lambda: attention.drag((0.4, 0.4), (0.6, 0.5)))
    assert attention["column"] == "76"
    attention.act(lambda: page.keyboard.press("Home"))
    assert (attention["row"], attention["column"]) == ("63", "63")
    attention.act(lambda: page.keyboard.press("ArrowDown"))
    attention.act(lambda: page.keyboard.press("Shift+ArrowLeft"))
    assert (attention["row"], attention["column"]) == ("67", "47")
    points = [[0.3 + 0.02 * k, 0.62 - 0.026 * k] for k in range(12)]
    view = attention.part("attention-view").element_handle()
    took = page.evaluate(ANSWERED, [attention.root.element_handle(), view, points])
    print(
        f"click to facts: median {np.median(took):.0f} ms, longest {max(took):.0f} ms"
    )
    assert np.median(took) < 1000


def test_settings_of_attention_are_set_by_hand(attention):
    page = attention.page
    loose = float(attention["entropy"])
    attention.act(lambda: attention.set_range("scale", 2))
    assert attention["scale"] == "100"
    assert float(attention["entropy"]) < loose
    attention.act(lambda: attention.part("propagation").uncheck())
    found = "print(attention.shown['propagation'], attention.shown['softmax_scale'])"
    assert ask_kernel(page, found) == "False 100.0"
    attention.act(lambda: attention.part("photo-hedgehog").check())
    assert ask_kernel(page, "print(attention.shown['photo'])") == "hedgehog"
    assert not attention.part("source-features").is_visible()


def test_the_hole_of_attention_is_dragged(attention):
    pasted = attention.pixels("pasted-view")
    attention.act(lambda: attention.drag((0.5, 0.5), (0.35, 0.5), part="hole-photo"))
    assert attention["box"] != "45 45 38 38"
    assert changed(pasted, attention.pixels("pasted-view")).any()
    assert int(attention["column"]) < 50, "the deepest pixel is followed"
    box = "print(*attention.shown['box'])"
    assert ask_kernel(attention.page, box) == attention["box"]
    attention.part("hole-photo").focus()
    attention.act(lambda: attention.page.keyboard.press("+"))
    assert attention["box"].endswith("40 40")


def test_attention_over_features_and_the_card_fits(make_page, lab, screenshots):
    page = make_page(1200, 1000)
    open_notebook(page, lab, "attending.ipynb")
    assert run_all(page) == []
    card = AttentionInPage(page)
    assert (card["source"], card["scale"]) == ("features", "4")
    assert "scale 4, with" in card.part("fact-as-trained").inner_text()
    card.act(lambda: card.part("source-colours").check())
    assert ask_kernel(page, "print(attending.maps.name)") == "its colours"
    card.act(lambda: card.set_range("scale", 1))
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    for name in ("Dark", "Light"):
        theme(page, name)
        card.pixels("attention-view")
        card.root.screenshot(path=screenshots / f"attention_{name.lower()}.png")
    assert card.root.bounding_box()["height"] <= 840
    assert card.root.evaluate(overflow) <= 0
    card.act(lambda: card.part("source-features").check())
    card.root.screenshot(path=screenshots / "attention_features.png")
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 2600})
    card.pixels("attention-view")
    assert card.root.evaluate(overflow) <= 0
    card.root.screenshot(path=screenshots / "attention_narrow.png")
    assert page.problems == []


# ---- the kernel explorer ----


@pytest.fixture(scope="module")
def kernel_page(make_page, lab):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "kernel.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def kernel(kernel_page):
    card = KernelInPage(kernel_page)
    code = "_ = kernel.cut((45, 45, 38, 38)).look(1, 0, 0, channel='all').look()"
    assert ask_kernel(kernel_page, code) == ""
    wait = "({ dataset: d }) => d.row === '32' && d.level === '1' && "
    wait += "d.box === '45 45 38 38' && d.channel === 'all' && d.answered === 'true'"
    kernel_page.wait_for_function(wait, arg=card.root.element_handle())
    card.part("film-hole").click()
    return card


KERNEL_ASKED = (
    "print(*[kernel.shown[k] for k in ('level', 'row', 'column', 'channel')])"
)


def test_a_hole_is_dragged_under_a_window(kernel):
    page = kernel.page
    parts = ("tiles-here", "tiles-full", "similarity-view", "film-recovery")
    before = {part: kernel.pixels(part) for part in parts}
    facts = "s = kernel.shown; print(format(s['cosine'], '.3f'), s['known'])"
    first = ask_kernel(page, facts)
    known = kernel.part("window-read")
    assert f"{kernel['cosine']} {known.inner_text().split()[0]}" == first
    assert f"{float(kernel['cosine']):.2f} here" == kernel.part("cosine").inner_text()
    ask_kernel(
        page,
        "calls, stages = [], kernel._network.stages\n"
        "def counted(*pair):\n    calls.append(1)\n    return stages(*pair)\n"
        "kernel._network.stages = counted",
    )
    x, y = kernel.at(0.5, 0.5)
    page.mouse.move(x, y)
    page.mouse.down()

    def follow():
        page.mouse.move(*kernel.at(0.5, 0.5 + 30 / 128), steps=12)

    kernel.act(follow)
    wait = "({ dataset: d }) => d.box === '75 45 38 38' && d.state === 'ready'"
    page.wait_for_function(wait, arg=kernel.root.element_handle())
    assert kernel["answered"] == "false"
    assert ask_kernel(page, "print(len(calls))") == "0", "dragging asks the layer only"
    assert ask_kernel(page, facts) != first
    kernel.act(page.mouse.up)
    assert kernel["answered"] == "true"
    assert ask_kernel(page, "print(len(calls))") == "1"
    assert ask_kernel(page, "print(*kernel.shown['box'])") == kernel["box"]
    assert ask_kernel(page, KERNEL_ASKED) == "1 32 23 all", "the window stays"
    page.mouse.move(0, 0)
    for part in parts:
        same = not changed(before[part], kernel.pixels(part)).any()
        assert same == (part == "tiles-full"), part
    told = "print(f\"L1 {kernel.shown['errors'][0]:.3f}\")"
    assert ask_kernel(page, told) in kernel.part("film-recovery").inner_text()


def test_windows_levels_and_channels_are_asked_by_hand_and_keys(kernel):
    page, keys = kernel.page, kernel.page.keyboard
    place = kernel.at(100.5 / 128, 20.5 / 128)
    kernel.act(lambda: page.mouse.click(*place))
    assert ask_kernel(page, KERNEL_ASKED) == "1 10 50 all"
    kernel.act(lambda: keys.press("ArrowLeft"))
    kernel.act(lambda: keys.press("ArrowDown"))
    assert ask_kernel(page, KERNEL_ASKED) == "1 11 49 all"
    kernel.act(lambda: keys.press("Shift+ArrowUp"))
    assert kernel["box"] == "44 45 38 38"
    kernel.act(lambda: keys.press("-"))
    assert kernel["box"] == "45 46 36 36"
    assert kernel["answered"] == "true"
    place = kernel.at(0.006, 0.8, "similarity-view")
    kernel.act(lambda: page.mouse.click(*place))
    assert ask_kernel(page, KERNEL_ASKED) == "1 51 0 all"
    cosine = f"cosine {float(kernel['cosine']):.2f}"
    assert kernel.root.get_by_text(f"Row 51, column 0: {cosine}.").count()
    assert int(kernel.part("window-outside").inner_text().split()[0]) > 0
    kernel.act(lambda: keys.press("Home"))
    assert kernel["row"] == "32"
    kernel.act(lambda: kernel.part("level-3").check())
    assert ask_kernel(page, KERNEL_ASKED) == "3 8 6 all"
    kernel.act(lambda: kernel.part("similarity-view").press("ArrowRight"))
    assert kernel["column"] == "7"
    kernel.act(lambda: kernel.part("tiles-here").get_by_test_id("tile-4").click())
    assert kernel["channel"] == "4" == kernel.part("channel").input_value()
    kernel.act(lambda: kernel.part("level-1").check())
    kernel.act(lambda: kernel.part("channel").select_option("2"))
    names = kernel.part("tiles-here").locator("span").all_inner_texts()
    assert names == ["red", "green", "blue", "valid"]
    red = kernel.part("tiles-full").get_by_test_id("tile-0").locator("canvas")
    box = red.bounding_box()
    page.mouse.move(
        box["x"] + 5.5 / 7 * box["width"], box["y"] + 1.5 / 7 * box["height"]
    )
    two = "[float(k[2, 0, 1, 5]) for k in (kernel.kernels, kernel.full_kernels)]"
    told = "print('red, row 1, column 5: {:+.3f} here, {:+.3f} where nothing is '"
    told += f"'missing'.format(*{two}).replace('-', '\u2212'))"
    assert kernel.part("weight").inner_text() == ask_kernel(page, told)


def test_answers_are_shown_and_the_kernel_card_fits(kernel, screenshots):
    page, photo = kernel.page, kernel.pixels("kernel-photo")
    kernel.part("film-refinement-2").click()
    assert changed(photo, kernel.pixels("kernel-photo")).any()
    assert kernel.root.get_by_text("Photo: refinement 2").is_visible()
    kernel.part("show").focus()
    page.keyboard.press("Home")
    assert not changed(photo, kernel.pixels("kernel-photo"))[40:-40, 40:-40].any()
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    for level in (4, 1):
        kernel.act(lambda level=level: kernel.part(f"level-{level}").click())
        for name in ("Dark", "Light"):
            theme(page, name)
            kernel.pixels("kernel-photo")
            shot = screenshots / f"kernel_{level}_{name.lower()}.png"
            kernel.root.screenshot(path=shot)
        assert kernel.root.evaluate(overflow) <= 0
        assert kernel.root.bounding_box()["height"] <= 830
    kernel.act(lambda: kernel.part("channel").select_option("2"))
    kernel.root.screenshot(path=screenshots / "kernel_one.png")
    view = kernel.part("similarity-view").element_handle()
    points = [[0.3 + 0.02 * k, 0.62 - 0.026 * k] for k in range(12)]
    took = page.evaluate(ANSWERED, [kernel.root.element_handle(), view, points])
    print(
        f"click to facts: median {np.median(took):.0f} ms, longest {max(took):.0f} ms"
    )
    assert np.median(took) < 1000
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 2600})
    kernel.pixels("kernel-photo")
    assert kernel.root.evaluate(overflow) <= 0
    kernel.root.screenshot(path=screenshots / "kernel_narrow.png")


# ---- the sampling explorer ----


@pytest.fixture(scope="module")
def sampling_page(make_page, lab):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "sampling.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def sampling(sampling_page):
    card = SamplingInPage(sampling_page)
    code = "_ = sampling.set(network='hard', layer=1, follow=False, photo='hedgehog', "
    code += "box=(45, 45, 38, 38)).look(0, 0).look()"
    assert ask_kernel(sampling_page, code) == ""
    wait = "({ dataset: d }) => d.row === '63' && d.layer === '1' && "
    wait += "d.box === '45 45 38 38' && d.network === 'hard' && d.follow === 'false'"
    sampling_page.wait_for_function(wait, arg=card.root.element_handle())
    return card


SAMPLED = "print(*[sampling.shown[k] for k in ('network', 'layer', 'row', 'column')])"


def test_a_click_asks_where_a_place_reads(sampling):
    page, keys = sampling.page, sampling.page.keyboard
    before = {p: sampling.pixels(p) for p in ("sampling-view", "enlarged-view")}
    sampling.act(lambda: page.mouse.click(*sampling.at(50.5 / 128, 60.5 / 128)))
    assert ask_kernel(page, SAMPLED) == "hard 1 60 50"
    for part, picture in before.items():
        assert changed(picture, sampling.pixels(part)).any(), part
    counts = "r = sampling.reads; print(r.before, r.after, len(r.seen))"
    unmoved, known, count = ask_kernel(page, counts).split()
    assert (sampling["before"], sampling["after"]) == (unmoved, known)
    assert sampling.part("fact-known-unmoved").inner_text() == f"{unmoved} of {count}"
    assert sampling.part("fact-known-moved").inner_text() == f"{known} of {count}"
    assert f"{known} of {count} reads are known" in sampling.status()
    told = "print(f'{sampling.reads.length:.1f} px')"
    assert sampling.part("fact-mean-offset").inner_text() == ask_kernel(page, told)
    every = "print(*[each['known'] for each in sampling.shown['rivals']])"
    labels = ("off", "soft", "hard", "selection")
    bars = [sampling.part(f"known-{label}").inner_text() for label in labels]
    assert bars == ask_kernel(page, every).split()
    sampling.act(lambda: sampling.drag((0.4, 0.4), (0.6, 0.5)))
    assert ask_kernel(page, SAMPLED) == "hard 1 64 76"
    sampling.act(lambda: keys.press("ArrowLeft"))
    sampling.act(lambda: keys.press("Shift+ArrowDown"))
    assert ask_kernel(page, SAMPLED) == "hard 1 72 74"
    sampling.act(lambda: keys.press("Home"))
    assert ask_kernel(page, SAMPLED) == "hard 1 63 63"


def test_networks_layers_and_reads_of_reads_are_chosen(sampling):
    page = sampling.page
    assert sampling.part("follow").is_disabled()
    sampling.act(lambda: sampling.part("network-selection").check())
    sampling.act(lambda: sampling.set_range("layer", 3))
    assert ask_kernel(page, SAMPLED) == "selection 3 63 63"
    shares = "print(*[f'{k:.2f}' for k in sampling.reads.shares.tolist()])"
    bars = [sampling.part(f"share-{k}").inner_text() for k in range(4)]
    assert bars == ask_kernel(page, shares).split()
    plain = sampling.pixels("enlarged-view")
    sampling.act(lambda: sampling.part("follow").check())
    assert changed(plain, sampling.pixels("enlarged-view")).any()
    facts = "f = sampling.shown['further']; print(f['known'], 'of', f['count'])"
    told = sampling.part("fact-own-reads-known").inner_text()
    assert told == ask_kernel(page, facts)
    assert told.split()[2] == "625", "25 reads of 25 reads"
    sampling.act(lambda: sampling.part("network-off").check())
    assert not sampling.part("share-0").count()
    ask_kernel(page, "sampling.layer = 2; sampling.network = 'soft'")
    wait = "({ dataset: d }) => d.network === 'soft' && d.layer === '2'"
    page.wait_for_function(wait, arg=sampling.root.element_handle())
    assert sampling.part("layer").input_value() == "2"
    assert sampling.part("network-soft").is_checked()


def test_the_hole_of_the_reads_is_dragged(sampling):
    page, view = sampling.page, sampling.pixels("sampling-view")
    sampling.part("hole-photo").scroll_into_view_if_needed()
    sampling.act(lambda: sampling.drag((0.5, 0.5), (0.7, 0.5), part="hole-photo"))
    wait = "({ dataset: d }) => d.state === 'ready'"
    page.wait_for_function(wait, arg=sampling.root.element_handle())
    assert ask_kernel(page, "print(*sampling.shown['box'])") == sampling["box"]
    assert sampling["box"] != "45 45 38 38"
    assert changed(view, sampling.pixels("sampling-view")).any()
    assert int(sampling["column"]) > 75, "the deepest pixel is followed"
    sampling.act(lambda: sampling.part("hole-photo").press("-"))
    assert sampling["box"].endswith("36 36")
    sampling.act(lambda: sampling.part("photo-lincolnmemorial").check())
    assert ask_kernel(page, "print(sampling.shown['photo'])") == "lincolnmemorial"


def test_the_sampling_card_answers_at_once_and_fits(sampling, screenshots):
    page = sampling.page
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    sampling.act(lambda: page.mouse.click(*sampling.at(0.4, 0.47)))
    for network, layer, follow in (("hard", 1, 0), ("selection", 2, 1), ("soft", 5, 1)):
        code = f"_ = sampling.set(network='{network}', layer={layer}, follow={follow})"
        ask_kernel(page, code)
        for name in ("Dark", "Light"):
            theme(page, name)
            sampling.pixels("sampling-view")
            shot = screenshots / f"sampling_{network}_{name.lower()}.png"
            sampling.root.screenshot(path=shot)
        assert sampling.root.evaluate(overflow) <= 0
        assert sampling.root.bounding_box()["height"] <= 830
    view = sampling.part("sampling-view").element_handle()
    points = [[0.3 + 0.02 * k, 0.62 - 0.026 * k] for k in range(12)]
    for follow in (False, True):
        ask_kernel(page, f"sampling.set(network='hard', layer=2, follow={follow})")
        took = page.evaluate(ANSWERED, [sampling.root.element_handle(), view, points])
        print(f"click to facts, reads of reads {follow}: ", end="")
        print(f"median {np.median(took):.0f} ms, longest {max(took):.0f} ms")
        assert np.median(took) < 1000
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 2600})
    sampling.pixels("sampling-view")
    assert sampling.root.evaluate(overflow) <= 0
    sampling.root.screenshot(path=screenshots / "sampling_narrow.png")


# ---- the mining explorer ----


@pytest.fixture(scope="module")
def mining_page(make_page, lab):
    page = make_page(1280, 1000)
    open_notebook(page, lab, "mining.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def mining(mining_page):
    card = MiningInPage(mining_page)
    code = "_ = mining.set(photo='lincolnmemorial', steps=900, area=0.35, variety=0, "
    code += "draw=0).look(0, 0).look()"
    assert ask_kernel(mining_page, code) == ""
    row = ask_kernel(mining_page, "print(mining.shown['row'])")
    wait = "([{ dataset: d }, row]) => d.row === row && d.steps === '900' && "
    wait += "d.area === '0.35' && d.variety === '0' && d.photo === 'lincolnmemorial'"
    mining_page.wait_for_function(wait, arg=[card.root.element_handle(), row])
    card.part("show-hole").check()
    return card


def redrawn(before, after):
    """As ``changed``; a tile between two pixels may be one pixel higher than before."""
    height, width = np.minimum(before.shape[:2], after.shape[:2])
    return changed(before[:height, :width], after[:height, :width])


MINED = "f = mining.shown; m = f['kinds'][1]; print(f['row'], f['column'], end=' ')\n"
MINED += "print(f'{f[\"expected\"]:.3f}', m['here'] and f'{m[\"here\"]:.3f}')"


def test_a_click_asks_what_a_pixel_would_cost(mining):
    page, keys = mining.page, mining.page.keyboard
    before = {p: mining.pixels(p) for p in ("mining-view", "expected-view")}
    mining.act(lambda: page.mouse.click(*mining.at(100.5 / 128, 12.5 / 128)))
    row, column, expected, here = ask_kernel(page, MINED).split()
    assert (row, column) == ("12", "100")
    for part, picture in before.items():
        assert changed(picture, mining.pixels(part)).any(), part
    assert mining.part("fact-row,-column").inner_text() == "12, 100"
    assert mining.part("fact-expected").inner_text() == expected
    assert mining.part("fact-in-mined-hole").inner_text() == f"yes, error {here}"
    assert f"expected {expected}, in the mined hole, measured {here}" in mining.status()
    place = (20.5 / 128, 60.5 / 128, "expected-view")
    mining.act(lambda: page.mouse.click(*mining.at(*place)))
    mining.act(lambda: keys.press("ArrowLeft"))
    mining.act(lambda: keys.press("Shift+ArrowUp"))
    assert ask_kernel(page, MINED).split()[:2] == ["52", "19"]
    mining.act(lambda: keys.press("Home"))
    found = "print(mining._asked, f'{mining.hole[0, 0, *mining._pixel]:.0f}')"
    assert ask_kernel(page, found) == "None 1"


def test_steps_area_and_variety_are_set_by_keys(mining):
    page = mining.page
    parts = ("mining-view", "expected-view", "tile-mined", "tile-shuffled")
    before = {part: mining.pixels(part) for part in parts}
    mining.act(lambda: mining.part("steps").press("Home"))
    assert mining["steps"] == "0"
    for part, picture in before.items():
        assert redrawn(picture, mining.pixels(part)).any(), part
    mining.act(lambda: mining.part("steps").press("ArrowRight"))
    mining.act(lambda: mining.part("area").press("ArrowRight"))
    mining.act(lambda: mining.part("variety").press("End"))
    now = "s = mining.settings; print(s.steps, f'{s.area:.2f}', s.variety, s.draw)"
    assert ask_kernel(page, now) == "30 0.36 1 0"
    assert mining.part("missing").inner_text() == "36.0 % missing"
    drawn = mining.pixels("tile-random")
    mining.act(lambda: mining.part("another").press("Enter"))
    assert ask_kernel(page, now) == "30 0.36 1 1"
    assert redrawn(drawn, mining.pixels("tile-random")).any()
    every = "print(*[f'{k[\"measured\"]:.3f}' for k in mining.shown['kinds']])"
    errors = ask_kernel(page, every).split()
    for kind, error in zip(KINDS, errors, strict=True):
        assert mining.part(f"error-{kind}").inner_text() == error
        assert mining.part(f"bar-{kind}").inner_text() == error
        label = mining.part(f"tile-{kind}").get_attribute("aria-label")
        assert label.endswith(f"mean error {error}.")


def test_the_four_pictures_show_holes_fills_and_errors(mining):
    for kind in KINDS:
        seen = []
        for show in ("hole", "fill", "error"):
            mining.part(f"show-{show}").check()
            seen.append(mining.pixels(f"tile-{kind}"))
        assert redrawn(seen[0], seen[1]).mean() > 0.05
        assert redrawn(seen[1], seen[2]).mean() > 0.2
    label = mining.part("tile-mined").get_attribute("aria-label")
    assert "the error of the fill" in label


def test_your_own_photo_is_mined(mining):
    page = mining.page
    rows = np.linspace(0, 255, 90).astype(np.uint8)
    photo = np.repeat(rows[:, None, None], 140, 1).repeat(3, 2)
    file = picked("slope.png", encoded(photo))
    mining.part("upload").set_input_files(file)
    wait = "({ dataset: d }) => d.photo === 'slope.png' && d.state === 'ready'"
    page.wait_for_function(wait, arg=mining.root.element_handle())
    assert ask_kernel(page, "print(mining.settings.photo)") == "slope.png"
    assert mining.part("photo-9").is_checked()
    broken = {**file, "name": "no.png", "buffer": b"no picture"}
    mining.act(lambda: mining.part("upload").set_input_files(broken), state="error")
    assert mining["photo"] == "slope.png"
    mining.act(lambda: mining.part("photo-2").check())
    assert ask_kernel(page, "print(mining.settings.photo)") == "macaque"


def test_the_mining_card_answers_in_time_and_fits(mining, screenshots):
    page, root = mining.page, mining.root.element_handle()
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    for show in ("hole", "fill", "error"):
        mining.part(f"show-{show}").check()
        for name in ("Dark", "Light"):
            theme(page, name)
            mining.pixels("mining-view")
            mining.root.screenshot(
                path=screenshots / f"mining_{show}_{name.lower()}.png"
            )
        assert mining.root.evaluate(overflow) <= 0
        assert mining.root.bounding_box()["height"] <= 850
    view = mining.part("mining-view").element_handle()
    points = [[0.3 + 0.02 * k, 0.62 - 0.026 * k] for k in range(12)]
    took = page.evaluate(ANSWERED, [root, view, points])
    print(f"click: median {np.median(took):.0f} ms, longest {max(took):.0f} ms")
    assert np.median(took) < 1000
    command(page, "application:toggle-left-area")
    page.set_viewport_size({"width": 430, "height": 2600})
    mining.pixels("mining-view")
    assert mining.root.evaluate(overflow) <= 0
    mining.root.screenshot(path=screenshots / "mining_narrow.png")


# ---- the ladder explorer ----


@pytest.fixture(scope="module")
def ladder_page(make_page, lab):
    page = make_page(1400, 1200)
    open_notebook(page, lab, "ladder.ipynb")
    assert run_all(page) == []
    yield page
    assert page.problems == []


@pytest.fixture
def ladder(ladder_page):
    card = LadderInPage(ladder_page)
    code = "_ = ladder.set(photo='hedgehog', hole=torch.nn.functional.pad("
    code += "torch.ones(1, 1, 38, 38), [45, 45, 45, 45])).look()"
    assert ask_kernel(ladder_page, code) == ""
    wait = "({ dataset: d }) => d.row === '63' && d.area === '1444'"
    ladder_page.wait_for_function(wait, arg=card.root.element_handle())
    card.filled()
    return card


ASKED = "print(*[ladder.shown[k] for k in ('row', 'column')])"
SHORT = "print(*[a.short for a in ladder.answers.values()], sep='|')"
LADDER_KINDS = ("partial", "gated", "attention", "filter", "sampling")


def test_one_click_is_answered_five_times(ladder):
    page, keys = ladder.page, ladder.page.keyboard
    before = {kind: ladder.pixels(f"answer-{kind}") for kind in LADDER_KINDS}
    ladder.act(lambda: page.mouse.click(*ladder.at(60.5 / 128, 46.5 / 128)))
    assert ask_kernel(page, ASKED) == "46 60"
    for kind, picture in before.items():
        assert changed(picture, ladder.pixels(f"answer-{kind}")).any(), kind
    told = [ladder.part(f"short-{kind}").inner_text() for kind in LADDER_KINDS]
    assert told == ask_kernel(page, SHORT).split("|")
    assert "; ".join(told) in ladder.status()
    says = ask_kernel(page, "print(ladder.answers['partial'].says)")
    assert ladder.part("says-partial").inner_text() == says
    label = ladder.part("answer-partial").get_attribute("aria-label")
    assert says in label, "a screen reader is told what the picture shows"
    ladder.act(lambda: keys.press("ArrowLeft"))
    ladder.act(lambda: keys.press("Shift+ArrowDown"))
    assert ask_kernel(page, ASKED) == "54 59"
    ladder.act(lambda: page.mouse.click(*ladder.at(0.254, 0.504, "answer-gated")))
    row, column = map(int, ask_kernel(page, ASKED).split())
    assert (row, column) == pytest.approx((64, 32), abs=1), "its picture is asked too"
    ladder.part("ladder-view").focus()
    ladder.act(lambda: keys.press("Home"))
    assert ask_kernel(page, ASKED) == "63 63"


def test_a_painted_hole_is_filled_by_every_rung(ladder):
    page = ladder.page
    before = ladder.pixels("tile-gated")
    drawn = ((0.1, 0.2), (0.3, 0.3))
    ladder.act(lambda: ladder.drag(*drawn, part="paint-view"))
    ladder.filled()
    area = int(ladder["area"])
    assert area > 1444
    assert ask_kernel(page, "print(int(ladder.hole.sum()))") == str(area)
    assert changed(before, ladder.pixels("tile-gated")).any()
    errors = "print(*[f'{k}={v:.4f}' for k, v in ladder.errors.items()], sep='|')"
    for told in ask_kernel(page, errors).split("|"):
        label, error = told.split("=")
        assert error in ladder.part(f"tile-{label}").inner_text()
    best = ask_kernel(page, "print(ladder.best)")
    assert ladder["best"] == best
    assert "the smallest" in ladder.part(f"tile-{best}").get_attribute("aria-label")
    ladder.act(lambda: ladder.part("undo").click())
    ladder.filled()
    assert ladder["area"] == "1444"
    for preset in ("stroke", "box", "irregular"):
        ladder.act(lambda preset=preset: ladder.part(f"preset-{preset}").click())
        ladder.filled()
    assert ask_kernel(page, "print(int(ladder.hole.sum()))") == ladder["area"]
    ladder.act(lambda: ladder.part("clear").click())
    ladder.filled()
    assert ladder["stage"] == "empty"
    assert "No hole yet" in ladder.status()


def test_a_fill_is_shown_large_and_photos_are_chosen(ladder):
    page, given = ladder.page, ladder.pixels("ladder-view")
    ladder.part("tile-harmonic").press("Enter")
    assert ladder.part("tile-harmonic").get_attribute("aria-pressed") == "true"
    assert changed(given, ladder.pixels("ladder-view")).any()
    assert ladder.part("showing").inner_text() == "filled: harmonic"
    ladder.part("tile-harmonic").click()
    assert not changed(given, ladder.pixels("ladder-view")).any()
    ladder.act(lambda: ladder.part("photo-1").check())
    ladder.filled()
    label = ask_kernel(page, "print(ladder.photo_labels[1])")
    assert ladder["photo"] == label == ask_kernel(page, "print(ladder.photo)")
    red = np.full((90, 70, 3), (200, 30, 30), np.uint8)
    file = picked("red.png", encoded(red))
    ladder.act(lambda: ladder.part("upload").set_input_files(file))
    ladder.filled()
    assert ask_kernel(page, "print(ladder.photo)") == "red.png"
    broken = picked("bad.png", b"no picture")
    ladder.act(lambda: ladder.part("upload").set_input_files(broken), "error")
    assert ask_kernel(page, "print(ladder.photo)") == "red.png"


def test_the_ladder_card_answers_at_once_and_fits(ladder, screenshots):
    page = ladder.page
    overflow = "(root) => root.scrollWidth - root.clientWidth"
    ladder.act(lambda: page.mouse.click(*ladder.at(66.5 / 128, 80.5 / 128)))
    command(page, "application:toggle-left-area")
    for width, height in ((1400, 1200), (1000, 1200), (700, 2000), (430, 3200)):
        page.set_viewport_size({"width": width, "height": height})
        for name in ("Dark", "Light"):
            theme(page, name)
            ladder.pixels("ladder-view")
            shot = screenshots / f"ladder_{width}_{name.lower()}.png"
            ladder.root.screenshot(path=shot)
        assert ladder.root.evaluate(overflow) <= 0, width
    page.set_viewport_size({"width": 1400, "height": 1200})
    ladder.pixels("ladder-view")
    assert ladder.root.bounding_box()["height"] <= 1040
    view = ladder.part("ladder-view").element_handle()
    points = [[0.3 + 0.02 * k, 0.62 - 0.026 * k] for k in range(12)]
    took = page.evaluate(ANSWERED, [ladder.root.element_handle(), view, points])
    print(
        f"click to facts: median {np.median(took):.0f} ms, longest {max(took):.0f} ms"
    )
    assert np.median(took) < 1000


# ---- lessons ----


@pytest.mark.parametrize("name", LESSONS)
def test_every_picture_of_a_lesson_arrives(make_page, lab, name):
    page = make_page()
    open_notebook(page, lab, f"notebooks/{name}")
    assert [address for address, width in pictures(page) if not width] == []
    assert page.problems == []


def test_lesson_00_opens_runs_and_fills_a_hole(make_page, lab, lab_root, screenshots):
    path = "notebooks/00_start_here.ipynb"
    if not (lab_root / path).exists():
        pytest.skip("lesson 00 is not built yet")
    page = make_page(1200, 1250)
    open_notebook(page, lab, path)
    assert run_all(page) == []
    painter = PainterInPage(page)
    find = (
        "import course_lib as _cl\n_all = list(globals().values())\n"
        "_painter = next(v for v in _all if isinstance(v, _cl.HolePainter))\n"
    )
    hole = find + "print(int(_painter.hole.sum()))"
    if painter["hole"] != "0":
        painter.act(lambda: painter.part("clear").click())
    before = painter.pixels()
    painter.act(lambda: painter.drag((0.2, 0.85), (0.8, 0.85)))
    assert changed(before, painter.pixels()).any()
    by_mouse = painter["hole"]
    assert ask_kernel(page, hole) == by_mouse != "0"
    painter.part("paint-view").focus()
    page.keyboard.press("Shift+ArrowUp")
    painter.act(lambda: page.keyboard.press("Space"))
    by_keys = painter["hole"]
    assert int(by_keys) > int(by_mouse)
    painter.act(lambda: page.touchscreen.tap(*painter.at(0.15, 0.15)))
    assert int(painter["hole"]) > int(by_keys)
    assert ask_kernel(page, hole) == painter["hole"]
    for name in ("Light", "Dark"):
        theme(page, name)
        painter.pixels()
        page.screenshot(path=screenshots / f"lesson_00_{name.lower()}.png")
    assert page.problems == []
