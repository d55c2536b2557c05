"""``python -m course_lib.notebooks [NN ...]``: build lessons, or name the stale."""

import argparse
import sys
from pathlib import Path

from course_lib.notebooks import (
    RULES,
    BuildError,
    build,
    is_stale,
    read,
    sources,
    target_of,
)


def main(arguments: list[str] | None = None) -> int:
    """Build the lessons that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.notebooks",
        description="Build notebooks/NN_name.ipynb from notebooks/source/NN_name.py.",
    )
    parser.add_argument(
        "lessons", nargs="*", metavar="NN", help="these, whether stale or not"
    )
    parser.add_argument("--all", action="store_true", help="every lesson")
    parser.add_argument(
        "--check", action="store_true", help="only say which notebooks are stale"
    )
    options = parser.parse_args(arguments)
    found = {path.name[:2]: path for path in sources()}
    unknown = sorted(set(options.lessons) - set(found))
    if unknown:
        parser.error(f"no lesson {', '.join(unknown)}; there is {', '.join(found)}")
    chosen = [found[number] for number in options.lessons] or list(found.values())
    forced = bool(options.lessons or options.all) and not options.check
    failed = [not _one(path, forced, options.check) for path in chosen]
    return int(any(failed))


def _one(source: Path, forced: bool, only_check: bool) -> bool:
    """Build or check one lesson; False when it is not as it should be."""
    target = target_of(source)
    try:
        if not forced and not is_stale(source, target):
            print(f"{source.stem}: up to date")
            return True
        if only_check:
            print(f"{source.stem}: stale, build it with {_command(source)}")
            return False
        built = build(source, target)
    except BuildError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return False
    state = "built" if built.changed else "unchanged"
    kilobytes = target.stat().st_size / 1000
    print(f"{source.stem}: {state}, {built.seconds:.0f} s, {kilobytes:.0f} KB")
    for name, rule in RULES.items():
        for problem in rule(read(target), target):
            print(f"  {name}: {problem}")
    return True


def _command(source: Path) -> str:
    return f"python -m course_lib.notebooks {source.name[:2]}"


if __name__ == "__main__":
    sys.exit(main())
