"""The pages beside the code name what exists: files, lessons, commands, licences."""

import ast
import importlib
import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import course
from course_lib.session import LESSONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PAGES = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING}


def images(text: str) -> list[tuple[str, str]]:
    """Every picture of a page: where it is, and its alt text."""
    markdown = [(path, alt) for alt, path in re.findall(r"!\[(.*?)\]\((.+?)\)", text)]
    tags = re.findall(r"<img [^>]*>", text)
    return markdown + [(attribute(tag, "src"), attribute(tag, "alt")) for tag in tags]


def attribute(tag: str, name: str) -> str:
    found = re.search(rf'{name}="(.*?)"', tag)
    return found[1] if found else ""


def targets(text: str) -> list[str]:
    """Every file of the course that a page links to or shows."""
    linked = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    inside = [target for target in linked if "://" not in target]
    return inside + [path for path, _ in images(text)]


def rows() -> list[str]:
    """The rows of the table of lessons."""
    table = README.partition("## Lessons")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return lines[2:]


def prose(text: str) -> str:
    """A page with every run of white space as one blank."""
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_exists(page):
    missing = [path for path in targets(PAGES[page]) if not (ROOT / path).is_file()]
    assert targets(PAGES[page])
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_an_alt_text(page):
    assert [path for path, alt in images(PAGES[page]) if len(alt.split()) < 4] == []


def test_the_picture_stands_before_all_text():
    title, blank, picture = README.splitlines()[:3]
    assert title.startswith("# ")
    assert blank == ""
    assert picture.startswith("![")


def test_the_table_has_one_row_for_each_lesson_in_order():
    assert len(rows()) == len(LESSONS)
    for row, lesson in zip(rows(), LESSONS.values(), strict=True):
        picture, link, minutes, builds = map(str.strip, row.strip("|").split(" | "))
        assert link == f"[{lesson.number} · {lesson.title}]({lesson.notebook})"
        assert minutes == f"{lesson.minutes} min"
        assert builds == lesson.builds
        name = f"{lesson.number}_{lesson.name}"
        assert f'src="assets/figures/{name}.png"' in picture


def test_every_built_notebook_has_its_row():
    built = {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert built == {lesson.notebook for lesson in LESSONS.values()}


def test_every_command_in_the_pages_exists():
    for page in PAGES.values():
        named = set(re.findall(r"course\.py ([a-z]+)", page))
        assert named <= {*course.COMMANDS, "help"}
    assert {"lab", "test"} <= set(
        re.findall(r"\npython3 course\.py ([a-z]+)\n", README)
    )


def test_the_readme_names_the_supported_pythons():
    bounds = PROJECT["project"]["requires-python"]
    low, high = map(int, re.findall(r"3\.(\d+)", bounds))
    versions = [f"3.{minor}" for minor in range(low, high)]
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in prose(README)


def test_the_conda_way_uses_the_name_of_the_environment():
    name = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["name"]
    assert f"conda activate {name}\n" in README


def test_the_lock_is_compiled_from_all_extras_and_names_no_host():
    (command,) = re.findall(r"uv pip compile (?:.|\n)+?(?=\n```)", CONTRIBUTING)
    for extra in PROJECT["project"]["optional-dependencies"]:
        assert f"--extra {extra}" in command
    for option in ("--universal", "--generate-hashes", "--no-emit-index-url"):
        assert option in command


def test_the_floors_are_those_of_the_house():
    source = (ROOT / "tests" / "test_house.py").read_text("utf-8")
    (table,) = re.findall(r"^FLOORS = (\{.+?^\})", source, re.MULTILINE | re.DOTALL)
    described = {}
    for floor, modules in re.findall(r"^\| ([\d.]+) \| (.+) \|$", CONTRIBUTING, re.M):
        for name in re.findall(r"`(\w+)(?:\.py|/)`", modules):
            described[name] = float(floor)
    assert described == ast.literal_eval(table)


def test_licence_and_citation_are_valid_and_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert str(citation["cff-version"]) == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] == "software"
    assert all(author["name"] for author in citation["authors"])
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"] == "MIT"
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert licence.startswith("MIT License\n")
    assert citation["authors"][0]["name"] in licence


def test_the_table_of_costs_is_as_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    layers = importlib.import_module("layers")
    every = json.loads(layers.FILE.read_text("utf-8"))  # of all machines it ran on
    (device,) = [name for name in every if f"rounds in turns on {name}," in README]
    facts = every[device]
    assert layers.markdown(device, facts) in README
    for found in facts["layers"].values():
        assert 0 < found["limit"] < 1
        assert found["published"] > 1 > found["plain"] > 0


def test_pages_have_one_title_and_no_skipped_heading():
    for page in PAGES.values():
        outside = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        levels = [len(marks) for marks in re.findall(r"^(#+) ", outside, re.MULTILINE)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(now <= before + 1 for before, now in itertools.pairwise(levels))
