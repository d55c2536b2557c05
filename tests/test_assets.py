"""What ships with the course: every file is credited, true to its row, and small."""

import hashlib
import re
import subprocess
from collections import Counter

import pytest
from PIL import Image
from safetensors.torch import load_file

from course_lib import photos, zoo
from course_lib.session import ASSETS, ROOT

CREDITS = (ASSETS / "CREDITS.md").read_text(encoding="utf-8")
LICENCES = {
    "CC-BY-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "Public Domain",
}
ONE_SUBJECT = (  # by two names
    {"chameleon", "chamaeleon"},
    {"chenonceau", "chateaudechenonceau"},
    {"eiffeltower", "toureiffel"},
    {"gizahpyramids", "greatpyramidofgiza"},
    {"greatwall", "greatwallofchina"},
    {"kutubminar", "qutubminar"},
    {"neuschwanstein", "neuschwansteincastle"},
)


def committed() -> list[str]:
    """What git tracks or would track, without a list of our own."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: what is committed cannot be asked for")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=True, text=True
    )
    names = [name for name in found.stdout.split("\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


def test_every_photo_has_its_row_and_every_row_its_photo():
    files = {p.name for p in photos.FOLDER.iterdir()} - {photos.MANIFEST.name}
    assert files == {f"{name}.webp" for name in photos.manifest()}


@pytest.mark.parametrize(
    "column", ["licence", "author", "source", "changes", "package"]
)
def test_every_row_is_complete(column: str):
    empty = [n for n, row in photos.manifest().items() if not row[column].strip()]
    assert empty == []


def test_every_row_is_true():
    for name, row in photos.manifest().items():
        with Image.open(photos.FOLDER / f"{name}.webp") as picture:
            size = (int(row["width"]), int(row["height"]))
            assert (picture.format, picture.size) == ("WEBP", size), name
        assert row["split"] in photos.SPLITS, name
        assert row["licence"] in LICENCES, name
        assert row["source"].startswith("https://"), name


def test_the_splits_share_no_subject():
    where: dict[str, set[str]] = {}
    for name, row in photos.manifest().items():
        subject = re.sub(r"(_small|_detail|_?\d+)$", "", name)
        if subject == "monument":  # a dome, a gate and a church, only numbered
            subject = name
        twins = next((group for group in ONE_SUBJECT if subject in group), {subject})
        where.setdefault(min(twins), set()).add(row["split"])
        where.setdefault(row["source"], set()).add(row["split"])
    assert {s: splits for s, splits in where.items() if len(splits) > 1} == {}


def test_the_credits_count_the_licences():
    for licence, count in Counter(
        r["licence"] for r in photos.manifest().values()
    ).items():
        assert f"| {licence} | {count} |" in CREDITS


def test_the_credits_name_the_manifest_and_each_family_of_assets():
    assert "photos/manifest.csv" in CREDITS
    families = {p.name for p in ASSETS.iterdir() if p.is_dir() and any(p.iterdir())}
    unnamed = [name for name in sorted(families) if f"`{name}/" not in CREDITS]
    assert unnamed == []
    loose = {p.name for p in ASSETS.iterdir() if p.is_file()} - {"CREDITS.md"}
    assert [name for name in sorted(loose) if name not in CREDITS] == []


def test_the_network_of_the_first_lesson_is_there():
    assert "plain_unet" in zoo.names()


@pytest.mark.parametrize("name", zoo.names())
def test_weights_belong_to_their_card_and_are_small(name: str):
    file = zoo.FOLDER / f"{name}.safetensors"
    assert file.stat().st_size <= zoo.MAX_BYTES
    facts = zoo.card(name)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == facts["sha256"]
    assert {"command", "seed", "device", "minutes", "data"} <= set(facts)
    assert not zoo.load(name).training


def test_weights_and_cards_come_in_pairs():
    files = [p for p in zoo.FOLDER.iterdir() if p.suffix in (".json", ".safetensors")]
    assert {p.stem for p in files} == set(zoo.names())
    assert len(files) == 2 * len(zoo.names())
    assert sum(p.stat().st_size for p in files) <= 36_000_000


def test_no_weights_are_stored_twice():
    where: dict[str, list[str]] = {}
    for name in zoo.names():
        for key, value in load_file(zoo.FOLDER / f"{name}.safetensors").items():
            if value.nbytes > 5_000:
                content = hashlib.sha256(value.numpy().tobytes()).hexdigest()
                where.setdefault(content, []).append(f"{name}: {key}")
    assert where
    twice = [keys for keys in where.values() if len(keys) > 1]
    assert twice == [], "let the card say what it shares: zoo.save(..., shares=NAME)"


def test_the_committed_tree_stays_below_60_mb():
    sizes = {name: (ROOT / name).stat().st_size for name in committed()}
    assert "course.py" in sizes
    assert sum(sizes.values()) < 60_000_000
