"""What every committed lesson must be, checked without running it.

Each rule takes a notebook and its path and returns what breaks it, one sentence each.
The builder prints them, the tests insist on them.
"""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import median, quantiles

import nbformat
from nbformat import NotebookNode

from course_lib.notebooks.box import box_of
from course_lib.notebooks.normal import (
    CODE_LINES,
    IGNORED,
    MACHINE_PATH,
    NOTEBOOK_BYTES,
    BuildError,
    normalise,
    tags_of,
)

Rule = Callable[[NotebookNode, Path], list[str]]

COMPARED_OUTPUTS = 8
COMPARED_SHARE = 0.6
WORDS = (1500, 3000)
WORDS_FIRST_LESSON = 900
SUMMARY_WORDS = 120
A_MINUTE = {"words": 120, "lines": 20}  # of reading, for every lesson the same
SECTIONS = ["Exercises", "Self-quiz", "Summary", "References"]

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]*)[^)]*\)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_EFFORT = re.compile(
    r"^\*(Warm up|Build|Analyse|Stretch) · difficulty [1-3] of 3 · \d+ minutes\*$",
    re.MULTILINE,
)
_EXERCISE_TAG = re.compile(r"exercise-(\d\d\.\d+)$")


def stored_outputs(notebook: NotebookNode, path: Path) -> list[str]:
    """Run from top to bottom, in its normal form, and not too large."""
    code = _code(notebook)
    counts = [cell.execution_count for cell in code]
    problems = []
    if counts != list(range(1, len(code) + 1)):
        problems.append("not run from top to bottom: build it again")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("its kernel is not python3: build it again")
    if path.stat().st_size > NOTEBOOK_BYTES:
        problems.append(f"more than {NOTEBOOK_BYTES // 1000} KB")
    for number, cell in enumerate(code, start=1):
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed and "raises-exception" not in tags_of(cell):
            problems.append(f"code cell {number} stores an error")
        if re.search(r"#\s*(NBVAL_|PYTEST_VALIDATE)", cell.source):
            problems.append(f"code cell {number}: use a tag, learners read comments")
    return problems


def normal_form(notebook: NotebookNode, path: Path) -> list[str]:
    """Exactly what the normaliser leaves: no widget views, no ids of chance."""
    try:
        after = normalise(deepcopy(notebook))
    except BuildError as error:
        return [str(error)]
    same = nbformat.writes(notebook) == nbformat.writes(after)
    return [] if same else ["not in its normal form: build it again"]


def compared_outputs(notebook: NotebookNode, path: Path) -> list[str]:
    """Enough of it is compared by nbval that a changed number turns the run red."""
    with_output = [cell for cell in _code(notebook) if cell.outputs]
    compared = [cell for cell in with_output if not tags_of(cell) & IGNORED]
    numbers = [cell for cell in compared if re.search(r"\d", _output_text(cell))]
    problems = []
    if len(numbers) < COMPARED_OUTPUTS:
        problems.append(
            f"{len(numbers)} compared outputs with numbers, at least {COMPARED_OUTPUTS}"
        )
    if len(compared) < COMPARED_SHARE * len(with_output):
        problems.append(
            f"{len(compared)} of {len(with_output)} cells with output are compared, "
            f"at least {COMPARED_SHARE:.0%}"
        )
    return problems


def pictures_speak(notebook: NotebookNode, path: Path) -> list[str]:
    """A cell that shows a picture also says in text what is on it."""
    problems = []
    for number, cell in enumerate(_code(notebook), start=1):
        shows = any(
            mime.startswith("image/")
            for o in cell.outputs
            for mime in o.get("data", {})
        )
        if shows and not _output_text(cell).strip():
            problems.append(f"code cell {number} shows a picture and no word or number")
    return problems


def headings(notebook: NotebookNode, path: Path) -> list[str]:
    """One H1, at the top; no level skipped; the closing sections in their order."""
    found = [(len(m[1]), m[2]) for m in _HEADING.finditer(_prose(notebook))]
    levels = [level for level, _ in found]
    problems = []
    if levels.count(1) != 1 or levels[0] != 1:
        problems.append(f"{levels.count(1)} H1 headings, one at the top is right")
    previous = 0
    for level, text in found:
        if level > previous + 1:
            problems.append(f"heading level {previous} is followed by {level}: {text}")
        previous = level
    closing = [text for level, text in found if level == 2 and text in SECTIONS]
    if closing != SECTIONS:
        problems.append(f"closing sections (##) are {closing}, not {SECTIONS}")
    return problems


def alt_texts(notebook: NotebookNode, path: Path) -> list[str]:
    """Every picture in the prose says in words what it shows; one stands at the top."""
    prose = _prose(notebook)
    problems = [
        f"picture without a real alt text: {m[2]}"
        for m in _PICTURE.finditer(prose)
        if len(m[1].split()) < 3
    ]
    for tag in _IMG.findall(prose):
        alt = re.search(r"\balt=[\"']([^\"']*)[\"']", tag)
        if not alt or len(alt[1].split()) < 3:
            problems.append(f"picture without a real alt text: {tag}")
    first = notebook.cells[0].source if notebook.cells else ""
    if not _PICTURE.search(first) and not _IMG.search(first):
        problems.append("no picture below the title")
    return problems


def lesson_box(notebook: NotebookNode, path: Path) -> list[str]:
    """The table with goals, minutes, what comes before and the cost."""
    try:
        box_of(notebook)
    except BuildError as error:
        return [str(error)]
    return []


def reading_minutes(notebook: NotebookNode, path: Path) -> list[str]:
    """The box promises what its words and lines of code take, give or take a tenth."""
    lines = sum(
        bool(row.strip()) for c in _code(notebook) for row in c.source.split("\n")
    )
    count = _count_words(_prose(notebook))
    needed = count / A_MINUTE["words"] + lines / A_MINUTE["lines"]
    promised = box_of(notebook).read
    if abs(promised - needed) <= max(1, needed / 10):
        return []
    return [
        f"read {promised}: {count} words and {lines} lines of code take about "
        f"{needed:.0f} minutes"
    ]


def set_up(notebook: NotebookNode, path: Path) -> list[str]:
    """The first code cell: at most four lines, the same in every lesson."""
    code = _code(notebook)
    lines = (
        [line for line in code[0].source.splitlines() if line.strip()] if code else []
    )
    problems = []
    if len(lines) > 4:
        problems.append(f"the set-up cell has {len(lines)} lines, at most 4")
    for wanted in ("import course_lib as cl", f'run = cl.start("{path.name[:2]}")'):
        if wanted not in lines:
            problems.append(f"the set-up cell has no line `{wanted}`")
    return problems


def exercises(notebook: NotebookNode, path: Path) -> list[str]:
    """Three to five: heading, effort, a stub with its check, two folded hints."""
    lesson, found = path.name[:2], list(_exercise_cells(notebook))
    keys = [key for key, _ in found]
    problems = []
    if keys != [f"{lesson}.{n}" for n in range(1, len(keys) + 1)]:
        problems.append(f"exercises {keys} are not {lesson}.1, {lesson}.2, ...")
    if not 3 <= len(keys) <= 5:
        problems.append(f"{len(keys)} exercises, 3 to 5 is right")
    section = _section(notebook, "Exercises")
    for key, cell in found:
        text = _between(section, rf"^### Exercise {re.escape(key)} · .+$")
        hints = [summary for summary, body in _DETAILS.findall(text) if body.strip()]
        if not text:
            problems.append(f"no heading `### Exercise {key} · title` in the section")
        if hints != ["Hint 1", "Hint 2"]:
            problems.append(f"exercise {key} has the hints {hints}, not Hint 1, Hint 2")
        if not _EFFORT.search(text):
            problems.append(
                f"exercise {key}: no line `*Build · difficulty 2 of 3 · 10 minutes*`"
            )
        if "raise NotImplementedError" not in cell.source:
            problems.append(f"the stub of {key} does not `raise NotImplementedError`")
        if not re.search(rf'^\w+ = cl\.check\("{key}", \w+\)$', cell.source, re.M):
            problems.append(f'no line `name = cl.check("{key}", name)` in the stub')
    return problems


def self_quiz(notebook: NotebookNode, path: Path) -> list[str]:
    """Four numbered questions, each with a folded answer."""
    section = _section(notebook, "Self-quiz")
    answers = [
        body
        for summary, body in _DETAILS.findall(section)
        if summary == "Answer" and body.strip()
    ]
    questions = re.findall(r"^\*\*(\d)\.\*\*\s+\S.*\?", section, re.MULTILINE)
    if questions != ["1", "2", "3", "4"] or len(answers) != 4:
        return [
            f"{len(questions)} questions (`**1.** ...?`) and {len(answers)} folded "
            "answers, four of each are right"
        ]
    return []


def summary(notebook: NotebookNode, path: Path) -> list[str]:
    """Short enough to be read."""
    count = _count_words(_section(notebook, "Summary"))
    if not 1 <= count <= SUMMARY_WORDS:
        return [f"the summary has {count} words, 1 to {SUMMARY_WORDS} is right"]
    return []


def links(notebook: NotebookNode, path: Path) -> list[str]:
    """Links to headings, files and pictures of the course lead somewhere."""
    prose = _prose(notebook)
    anchors = {_anchor(m[2]) for m in _HEADING.finditer(prose)}
    targets = _LINK.findall(prose) + [m[2] for m in _PICTURE.finditer(prose)]
    targets += re.findall(r"(?:href|src)=[\"']([^\"']+)[\"']", prose)
    problems = []
    for target in targets:
        if re.match(r"(https?|mailto):", target):
            continue
        file, _, anchor = target.partition("#")
        if file and not (path.parent / file).exists():
            problems.append(f"broken link: {target}")
        elif not file and _anchor(anchor) not in anchors:
            problems.append(f"no such heading: {target}")
    return problems


def words(notebook: NotebookNode, path: Path) -> list[str]:
    """Long enough to explain, short enough to finish."""
    low, high = WORDS
    low = WORDS_FIRST_LESSON if path.name.startswith("00") else low
    count = _count_words(_prose(notebook))
    return [] if low <= count <= high else [f"{count} words, {low} to {high} is right"]


def small_cells(notebook: NotebookNode, path: Path) -> list[str]:
    """One idea a cell; blank lines do not count, save for the largest allowed."""
    sizes = [
        sum(bool(line.strip()) for line in cell.source.splitlines())
        for cell in _code(notebook)
    ]
    if len(sizes) < 2:
        return ["fewer than two code cells"]
    problems = []
    if median(sizes) > 8:
        problems.append(f"the median code cell has {median(sizes):g} lines, not 8")
    tenth = quantiles(sizes, n=10, method="inclusive")[-1]
    if tenth > 18:
        problems.append(f"a tenth of the cells reach {tenth:g} lines, not 18")
    largest = max(len(cell.source.splitlines()) for cell in _code(notebook))
    if largest > CODE_LINES:
        problems.append(f"a code cell has {largest} lines, at most {CODE_LINES}")
    return problems


def no_machine_paths(notebook: NotebookNode, path: Path) -> list[str]:
    """No path that only the author's machine has, in prose or in code."""
    found = [m.group() for c in notebook.cells for m in MACHINE_PATH.finditer(c.source)]
    return [f"a path of one machine: {text}..." for text in found]


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        stored_outputs,
        normal_form,
        compared_outputs,
        pictures_speak,
        headings,
        alt_texts,
        lesson_box,
        reading_minutes,
        set_up,
        exercises,
        self_quiz,
        summary,
        links,
        words,
        small_cells,
        no_machine_paths,
    )
}


def exercise_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The stub cells of a lesson, by the key of their exercise."""
    return dict(_exercise_cells(notebook))


def _exercise_cells(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    for cell in _code(notebook):
        for tag in cell.metadata.get("tags", []):
            if match := _EXERCISE_TAG.match(tag):
                yield match[1], cell


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _prose(notebook: NotebookNode) -> str:
    """All markdown, without code blocks."""
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    return "\n\n".join(_FENCE.sub("", text) for text in texts)


def _section(notebook: NotebookNode, title: str) -> str:
    """The prose below a heading of level two, up to the next one."""
    return _between(_prose(notebook), rf"^## {re.escape(title)}$")


def _between(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    start = re.search(heading, text, re.MULTILINE)
    if not start:
        return ""
    level = len(start[0]) - len(start[0].lstrip("#"))
    rest = text[start.end() :]
    stop = re.search(rf"^#{{1,{level}}} ", rest, re.MULTILINE)
    return rest[: stop.start()] if stop else rest


def _count_words(markdown: str) -> int:
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"<[^>]+>", " ", markdown))
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def _output_text(cell: NotebookNode) -> str:
    """Printed lines and the text of displays, save the text of no content."""
    texts = [output.get("text", "") for output in cell.outputs]
    plain = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts + [text for text in plain if not text.startswith("<")])


def _anchor(text: str) -> str:
    """Jupyter and GitHub make anchors of headings a little differently: neither's."""
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")
