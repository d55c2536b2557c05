"""One JupyterLab and one browser for all browser tests of a run."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from lab import write_notebooks
from labserver import BROWSER_ARGUMENTS, find_browser, lab_server

from course import BROWSERS

PROJECT = Path(__file__).resolve().parents[2]
LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:")
SCREENSHOTS = PROJECT / "build" / "screenshots"
END = "() => window.jupyterapp?.serviceManager.sessions.shutdownAll()"  # of the kernels


@pytest.fixture(scope="session")
def lab_root(tmp_path_factory):
    """A copy of the lessons, so that a test may save them."""
    root = tmp_path_factory.mktemp("lab")
    keep = shutil.ignore_patterns(".*", "source", "*.py")
    if (PROJECT / "notebooks").is_dir():
        shutil.copytree(PROJECT / "notebooks", root / "notebooks", ignore=keep)
    (root / "notebooks").mkdir(exist_ok=True)
    figures = Path("assets") / "figures"  # the server refuses links that leave its root
    if (PROJECT / figures).is_dir():
        shutil.copytree(PROJECT / figures, root / figures)
    write_notebooks(root)
    return root


@pytest.fixture(scope="session")
def chromium():
    path = find_browser()
    if path is None:
        text = f"no browser: none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("COURSE_REQUIRE_BROWSER") == "1":
            pytest.fail(text)
        pytest.skip(text + " (COURSE_REQUIRE_BROWSER=1 makes this a failure)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, lab_root, tmp_path_factory):
    """The address of a JupyterLab that serves ``lab_root``."""
    with lab_server(lab_root, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def make_page(chromium):
    """Pages that collect what goes wrong in them: errors, and requests that leave.

    One at a time: a new one closes the one before, and ends the kernels.
    """
    pages = []

    def make(width=1200, height=1100):
        close(pages)
        page = chromium.new_page(
            viewport={"width": width, "height": height}, has_touch=True
        )
        page.set_default_timeout(60_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: note_leaving(page, request.url))
        page.on("websocket", lambda socket: note_leaving(page, socket.url))
        pages.append(page)
        return page

    yield make
    close(pages)


def close(pages):
    """A kernel that is left behind would keep half a gigabyte until the last test."""
    while pages:
        page = pages.pop()
        page.evaluate(END)
        page.close()


def note_leaving(page, url):
    if not url.startswith(LOCAL):
        page.problems.append(f"left the machine: {url}")


@pytest.fixture(scope="session")
def screenshots():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
