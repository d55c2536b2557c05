"""The training view without a browser: pictures it keeps, curves, what goes wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import training
from course_lib.training import History, fit
from course_lib.widgets import TrainingView
from course_lib.widgets.base import WidgetError
from course_lib.widgets.training_view import BINS, MOST, curve


def history(steps: int, goal: int = 1000) -> History:
    losses = {"loss": [1 / (k + 1) for k in range(steps)], "hole": [0.5] * steps}
    return History(losses if steps else {}, steps, steps / 10, 0.0, goal=goal)


def level(view_history: dict) -> torch.Tensor:
    """A picture that tells after how many steps it was taken."""
    return torch.full((1, 3, 8, 8), view_history["steps"] / 1000)


@pytest.fixture
def shown():
    """A view, and a function that lets it see some steps."""
    now = {"steps": 0}
    view = TrainingView(lambda: level(now))

    def see(*steps: int, goal: int = 1000) -> None:
        for step in steps:
            now["steps"] = step
            view(history(step, goal))

    return view, see


def page_picture(view: TrainingView, place: int) -> np.ndarray:
    """What the page draws for one moment."""
    _, slot = view.facts["pictures"][place]
    data = np.frombuffer(getattr(view, f"picture_{slot}"), np.uint8)
    return data.reshape(*view.facts["size"], 3)


# ---- the pictures ----


def test_each_look_becomes_a_picture_in_the_page(shown):
    view, see = shown
    see(0, 100, 250)
    assert view.steps == [0, 100, 250]
    assert [step for step, _ in view.facts["pictures"]] == [0, 100, 250]
    for place, step in enumerate(view.steps):
        assert page_picture(view, place).shape == (1, 8, 8, 3)
        assert page_picture(view, place).mean() == round(255 * step / 1000)
    assert view.picture.shape == (1, 3, 8, 8)
    assert float(view.picture.mean()) == pytest.approx(0.25, abs=0.003)


@pytest.mark.parametrize("looks", [MOST, MOST + 1, 3 * MOST + 5, 10 * MOST])
def test_a_long_training_keeps_pictures_from_all_of_it(shown, looks: int):
    view, see = shown
    see(*range(looks))
    assert MOST // 2 <= len(view.steps) <= MOST
    assert (view.steps[0], view.steps[-1]) == (0, looks - 1)
    gaps = np.diff(view.steps)
    assert len(set(gaps[:-1])) == 1  # even, but for the newest
    assert gaps[-1] <= gaps[0]
    for place, step in enumerate(view.steps):
        assert page_picture(view, place).mean() == round(255 * step / 1000)


def test_a_picture_travels_once(shown, monkeypatch):
    view, see = shown
    see(0, 1, 2)
    sent = []
    monkeypatch.setattr(
        view, "send_state", lambda key=None: sent.append(set(key or ()))
    )
    see(3)
    names = {name for keys in sent for name in keys if name.startswith("picture_")}
    assert names == {"picture_3"}


def test_the_same_step_twice_is_one_picture_the_newer(shown):
    view, see = shown
    see(0, 5, 5, 9)
    assert view.steps == [0, 5, 9]


def test_another_training_starts_anew_a_resumed_one_goes_on(shown):
    view, see = shown
    see(0, 50, 100)
    see(100, 150)
    assert view.steps == [0, 50, 100, 150]
    view.look(50)
    see(0, 20)
    assert view.steps == [0, 20]
    assert view.chosen == -1


def test_room_is_kept_for_what_the_first_look_will_show():
    assert TrainingView(lambda: torch.zeros(3, 8, 8)).facts["size"] == [1, 1, 1]
    wide = TrainingView(lambda: torch.zeros(3, 3, 8, 8), pictures=3)
    assert wide.facts["size"] == [3, 1, 1]
    assert wide.facts["pictures"] == []
    wide(history(1))
    assert wide.facts["size"] == [3, 8, 8]
    assert TrainingView().facts["size"] == []


def test_several_images_are_one_picture_side_by_side_and_large_ones_shrink():
    view = TrainingView(lambda: torch.rand(3, 3, 64, 32))
    view(history(1))
    assert view.facts["size"] == [3, 64, 32]
    assert view.picture.shape == (3, 3, 64, 32)
    wide = TrainingView(lambda: torch.rand(3, 400, 1600))
    wide(history(1))
    assert wide.facts["size"] == [1, 192, 768]


def test_look_chooses_the_nearest_picture(shown):
    view, see = shown
    with pytest.raises(WidgetError, match="no picture yet"):
        view.look(3)
    with pytest.raises(WidgetError, match="no picture yet"):
        view.picture  # noqa: B018
    see(0, 100, 200)
    assert view.look(140).chosen == 100
    assert float(view.picture.mean()) == pytest.approx(0.1, abs=0.003)
    assert view.look().chosen == -1
    assert float(view.picture.mean()) == pytest.approx(0.2, abs=0.003)


# ---- what is said ----


def test_the_facts_follow_the_training(shown):
    view, see = shown
    assert view.facts["status"].startswith("No training yet")
    see(0, 250)
    assert view.facts["status"] == "Step 250 of 1,000, 10 steps a second."
    assert (view.facts["goal"], view.facts["moving"]) == (1000, True)
    assert [one["name"] for one in view.facts["curves"]] == ["loss", "hole"]
    see(1000)
    assert view.facts["status"] == "1000 steps in 100 s, 0 % of it waiting for data."
    assert not view.facts["moving"]
    stopped = history(1000, 2000)
    stopped.interrupted = True
    view(stopped)
    assert view.facts["status"].startswith("Interrupted after 1000 of 2000")
    assert not view.facts["moving"]


def test_repr_has_no_digit_of_a_loss(shown):
    view, see = shown
    assert repr(view) == "TrainingView(0 steps of no loss)"
    see(4)
    assert repr(view) == "TrainingView(4 steps of loss, hole)"


def test_the_still_shows_moments_and_curves(shown):
    view, see = shown
    empty = view.still().pixels
    see(*range(0, 601, 20))
    still = view.still()
    assert still.text == repr(view)
    assert len(still._repr_png_()) < 60_000
    assert still.pixels.shape[1] == empty.shape[1]
    assert still.pixels.shape[0] > empty.shape[0] + 100
    assert np.array_equal(still.pixels, view.still().pixels)
    assert not np.array_equal(still.pixels, view.look(100).still().pixels)


def test_a_curve_of_few_steps_is_drawn_point_by_point():
    found = curve([3.0, 1.0, 2.0], 3)
    assert found["step"] == [1, 2, 3]
    assert found["low"] == found["high"] == [3, 1, 2]
    assert found["smooth"] == [3, 1, 2]


def test_a_long_curve_keeps_its_range_and_its_end():
    values = [0.5 + 0.5 * (k % 7 == 0) for k in range(5000)]
    found = curve(values, 10_000)  # a loss of every second step
    assert len(found["step"]) == BINS
    assert (min(found["low"]), max(found["high"])) == (0.5, 1)
    assert found["step"][-1] == 10_000
    assert np.allclose(np.diff(found["step"])[:-1], 10_000 / BINS, rtol=0.1)
    assert np.allclose(found["smooth"], 0.5 + 0.5 / 7, atol=0.03)


def test_a_smoothed_curve_has_no_lag_and_no_dip_at_the_ends():
    flat = curve([2.0] * 1000, 1000)
    assert np.allclose(flat["smooth"], 2)
    line = curve([float(k) for k in range(1000)], 1000)
    inner = slice(40, -40)
    assert np.allclose(line["smooth"][inner], line["step"][inner], atol=3)


# ---- with fit ----


def test_a_training_draws_into_the_view_and_is_not_changed_by_it(monkeypatch):
    monkeypatch.setattr(training, "WATCH_PAUSE", 0.0)

    def run(watched: bool) -> tuple[nn.Module, TrainingView]:
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        optimizer = torch.optim.Adam(network.parameters())
        view = TrainingView(lambda: network(torch.rand(1, 3, 8, 8)).sigmoid())

        def step(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            loss = (network(batch) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        images = iter(torch.rand(5, 4, 3, 8, 8))
        watch = view if watched else None
        state = {"network": network}
        fit(step, images, steps=5, state=state, progress=False, watch=watch)
        return network, view

    (alone, _), (network, view) = run(False), run(True)
    ours, theirs = network.state_dict(), alone.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (view.steps[0], view.steps[-1]) == (0, 5)
    assert repr(view) == "TrainingView(5 steps of loss)"


@pytest.mark.parametrize(
    ("look", "text"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: torch.rand(8, 8), "look returned (8, 8), expected an image"),
        (lambda: "ibex", "look returned str, expected an image"),
        (lambda: torch.rand(1, 2, 8, 8), "expected (3, H, W)"),
    ],
)
def test_a_look_that_fails_is_told_and_the_training_goes_on(look, text):
    view = TrainingView(look)
    done = fit(
        lambda _: {"loss": 1.0}, iter(range(9)), steps=3, progress=False, watch=view
    )
    assert done.steps == view.facts["step"] == 3
    assert text in view.facts["trouble"]
    assert view.facts["trouble"].endswith("The training goes on.")
    assert view.facts["pictures"] == []
    view.still()


def test_without_a_look_there_is_only_the_curve():
    view = TrainingView()
    view(history(20))
    assert (view.steps, view.facts["trouble"]) == ([], "")
    assert len(view.facts["curves"][0]["step"]) == 20


def test_the_page_asks_for_nothing(shown, make_view):
    assert "unknown" in make_view(shown[0]).ask("look")["error"]
