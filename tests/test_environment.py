"""The lock, environment.yml and pyproject.toml ask for the same packages."""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = (ROOT / "requirements.lock").read_text("utf-8")

# Where conda-forge calls a package something else.
CONDA_NAMES = {
    "matplotlib-base": "matplotlib",
    "playwright-python": "playwright",
    "py-opencv": "opencv-python-headless",
    "pytorch": "torch",
}
LINUX = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
MAC = {"os_name": "posix", "sys_platform": "darwin", "platform_system": "Darwin"}
WINDOWS = {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows"}
SYSTEMS = {
    "linux-x86_64": {**LINUX, "platform_machine": "x86_64"},
    "linux-aarch64": {**LINUX, "platform_machine": "aarch64"},
    "macos-arm64": {**MAC, "platform_machine": "arm64"},
    "windows-amd64": {**WINDOWS, "platform_machine": "AMD64"},
}
PYTHONS = ("3.11.0", "3.11.9", "3.12.1", "3.13.0")
TARGETS = [(system, python) for system in SYSTEMS for python in PYTHONS]


def direct() -> dict[str, Requirement]:
    """What pyproject.toml asks for, extras included, by canonical name."""
    project = PROJECT["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def conda() -> dict[str, SpecifierSet]:
    """What environment.yml asks conda for, by the names PyPI uses."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    found = {}
    for entry in entries["dependencies"]:
        if isinstance(entry, str):
            name, _, bounds = entry.partition(" ")
            found[CONDA_NAMES.get(name, name)] = SpecifierSet(bounds)
    return found


def pins() -> Iterator[tuple[str, Version, Marker | None]]:
    """Every pin of the lock: canonical name, version, marker."""
    for name, version, marker in re.findall(
        r"^([\w.-]+)==([^\s;]+)(?: ; (.+?))? \\$", LOCK, re.MULTILINE
    ):
        condition = Marker(marker) if marker else None
        yield canonicalize_name(name), Version(version), condition


def target(system: str, python: str) -> dict[str, str]:
    """The marker variables of a machine that is not here."""
    return {
        **SYSTEMS[system],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "extra": "",
    }


def active(system: str, python: str) -> dict[str, list[Version]]:
    """The versions that the lock installs on such a machine, by name."""
    machine = target(system, python)
    chosen: dict[str, list[Version]] = {}
    for name, version, marker in pins():
        if marker is None or marker.evaluate(machine):
            chosen.setdefault(name, []).append(version)
    return chosen


def test_conda_asks_for_the_same_packages_in_the_same_ranges():
    ours = {name: requirement.specifier for name, requirement in direct().items()}
    theirs = conda()
    for only_conda in ("python", "pip", "setuptools"):
        theirs.pop(only_conda)
    assert theirs == ours


def test_conda_asks_for_the_same_python_and_the_same_build_tool():
    assert conda()["python"] == SpecifierSet(PROJECT["project"]["requires-python"])
    (build,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert conda()[build.name] == build.specifier


def test_conda_installs_the_course_and_reads_one_channel():
    file = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert file["name"] == PROJECT["project"]["name"]
    assert file["channels"] == ["conda-forge", "nodefaults"]
    assert file["dependencies"][-1] == {"pip": ["-e ."]}


def test_the_lock_names_no_host_and_no_path():
    assert not re.search(r"://|--(extra-)?index|--find-links|file:| @ |/", LOCK)


def test_every_line_of_the_lock_is_a_pin_or_one_of_its_hashes():
    name = r"[a-z0-9][a-z0-9._-]*"
    pin = re.compile(rf"{name}==[0-9][\w.]*( ; [^\\]+)? \\")
    hash_line = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    previous_ended = True
    for line in LOCK.splitlines():
        wanted = pin if previous_ended else hash_line
        assert wanted.fullmatch(line), line
        previous_ended = not line.endswith("\\")
    assert previous_ended


def test_the_lock_has_the_supported_pair_of_torch_and_torchvision():
    found = {name: version.public for name, version, _ in pins()}
    assert (found["torch"], found["torchvision"]) == ("2.15.0", "0.29.2")


@pytest.mark.parametrize(("system", "python"), TARGETS)
def test_the_lock_gives_one_fitting_version_of_each_package(system, python):
    chosen = active(system, python)
    assert {name: found for name, found in chosen.items() if len(found) != 1} == {}
    for name, requirement in direct().items():
        assert name in chosen
        assert requirement.specifier.contains(chosen[name][0]), name
    (build,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert build.specifier.contains(chosen[build.name][0])  # for the editable install


def requires(name: str, version: Version) -> list[str]:
    """What a package needs, if it is installed here in this very version."""
    try:
        here = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return []  # it belongs to another system
    same = Version(here.version).public == version.public
    return (here.requires or []) if same else []


def needed(chosen: dict[str, list[Version]], machine: dict[str, str]) -> set[str]:
    """All that the direct packages need there, as far as installed packages tell."""
    open_ends = [(name, frozenset(req.extras)) for name, req in direct().items()]
    seen = set(open_ends)
    problems = set()
    while open_ends:
        name, extras = open_ends.pop()
        if name not in chosen:
            problems.add(f"{name} is missing")
            continue
        for requirement in map(Requirement, requires(name, chosen[name][0])):
            marker = requirement.marker
            if marker and not any(
                marker.evaluate({**machine, "extra": extra}) for extra in ("", *extras)
            ):
                continue
            end = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if end not in seen:
                seen.add(end)
                open_ends.append(end)
    return problems


@pytest.mark.parametrize(("system", "python"), TARGETS)
def test_the_lock_is_complete_on_each_system(system, python):
    assert needed(active(system, python), target(system, python)) == set()


def test_what_is_installed_is_what_the_lock_says():
    stamp = Path(sys.prefix) / "course-stamp"
    if Path(sys.prefix) != ROOT / ".venv" or not stamp.exists():
        pytest.skip("the packages were not installed by course.py")
    for name, version, marker in pins():
        if marker is None or marker.evaluate():
            assert Version(importlib.metadata.version(name)).public == version.public
