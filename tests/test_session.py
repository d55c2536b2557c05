"""Where a lesson starts: profiles, devices, seeds, and what it says on errors."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError

import matplotlib as mpl
import pytest
import torch

from course_lib import session


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No profile is set outside, and threads and figure style come back."""
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    threads = torch.get_num_threads()
    with mpl.rc_context():
        yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:profile gpu without CUDA")
@pytest.mark.parametrize("profile", session.PROFILES)
@pytest.mark.parametrize("lesson", session.LESSONS)
def test_each_lesson_has_a_budget_in_each_profile(lesson: str, profile: str):
    run = session.start(lesson, profile)
    budget = getattr(session.LESSONS[lesson], profile)
    assert (run.steps, run.batch, run.size) == (budget.steps, budget.batch, budget.size)
    assert (run.lesson, run.profile) == (lesson, profile)
    assert min(run.steps, run.batch, run.size) > 0
    assert all(part in str(run) for part in (lesson, profile, "seed 0", run.title))


def test_the_gpu_profile_without_cuda_warns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="will take hours here; profile laptop"):
        session.start("00", "gpu")


def test_a_run_is_frozen():
    run = session.start("00", "ci")
    with pytest.raises(FrozenInstanceError):
        run.steps = 1  # type: ignore[misc]


def test_ci_means_the_cpu_and_one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "best_device", lambda: torch.device("meta"))
    torch.set_num_threads(2)
    assert session.start("00", "laptop").device.type == "meta"
    assert torch.get_num_threads() == 2
    assert session.start("00", "ci").device.type == "cpu"
    assert torch.get_num_threads() == 1


def test_argument_before_environment_before_machine(monkeypatch: pytest.MonkeyPatch):
    assert session.start("00").profile == session.automatic_profile()
    monkeypatch.setenv("COURSE_PROFILE", "ci")
    assert session.start("00").profile == "ci"
    assert session.start("00", "laptop").profile == "laptop"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert session.automatic_profile() == "gpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert session.automatic_profile() == "laptop"


def test_unknown_names_list_what_exists(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(session.SessionError, match="99") as lesson:
        session.start("99")
    for row in session.LESSONS.values():
        assert f"{row.number} ({row.title})" in str(lesson.value)
    with pytest.raises(session.SessionError, match=r"'fast'.*ci, laptop, gpu"):
        session.start("00", "fast")
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    with pytest.raises(session.SessionError, match=r"'quick'.*COURSE_PROFILE"):
        session.start("00")


def test_a_stream_depends_on_lesson_seed_and_name_only():
    def draw(lesson: str = "00", seed: int = 0, name: str = "holes") -> list[float]:
        run = session.start(lesson, "ci", seed)
        return torch.rand(4, generator=run.generator(name)).tolist()

    first = draw()
    run = session.start("00", "laptop")
    photos, holes = run.generator("photos"), run.generator("holes")
    torch.rand(9, generator=photos)
    assert torch.rand(4, generator=holes).tolist() == first
    assert (
        len({tuple(d) for d in (first, draw("01"), draw(seed=1), draw(name="x"))}) == 4
    )


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=session.start("00", "ci").generator("holes"))
    session.probe_ms()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_table_is_keyed_by_number_and_names_notebooks():
    assert [row.number for row in session.LESSONS.values()] == list(session.LESSONS)
    assert session.find("01").notebook == "notebooks/01_holes.ipynb"
    assert session.ASSETS == session.ROOT / "assets"
    assert (session.ROOT / "pyproject.toml").is_file()


def test_start_sets_the_figure_style():
    mpl.rcdefaults()
    session.start("00", "ci")
    for name, value in {"figure.dpi": 80, "axes.spines.top": False}.items():
        assert mpl.rcParams[name] == value != mpl.rcParamsDefault[name]


def test_report_scales_the_lessons_with_the_probe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "probe_ms", lambda: 2 * session.PROBE_MS)
    text = session.report()
    for row in session.LESSONS.values():
        line = next(line for line in text.splitlines() if row.title in line)
        assert line.split()[:2] == [row.number, str(2 * row.seconds)]
    for fact in (
        "Python 3",
        f"torch {torch.__version__.split('+')[0]}",
        "device ",
        "GiB free",
    ):
        assert fact in text
    assert session._version("no-such-package") == "not installed"


def test_the_probe_tells_its_fastest_pass(monkeypatch: pytest.MonkeyPatch):
    passes = [0.9, 0.5, 0.25, 0.5, 0.375, 0.5]  # seconds
    clock = [t for k, taken in enumerate(passes) for t in (10 * k, 10 * k + taken)]
    monkeypatch.setattr(session.time, "perf_counter", iter(clock).__next__)
    assert session.probe_ms() == 250
