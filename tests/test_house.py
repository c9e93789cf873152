"""The house is kept: tests that read the source tree (docs/decisions say why it is built so)."""

import ast
import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
ROOMS: Final = ("credit_es", "projections", "api", "workers")
MODULES: Final = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SOURCES: Final = sorted([*MODULES, *(ROOT / "data").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
DOMAIN: Final = sorted((ROOT / "credit_es" / "domain").glob("*.py"))
DECISIONS: Final = sorted((ROOT / "docs" / "decisions").glob("*.md"))

MOST_LINES: Final = 350
HEADINGS: Final = ["Decision", "Because", "Instead of", "Costs", "Revisit when"]
CONTRACTS: Final = {"rooms", "no-strays", "pure", "web", "sql", "tables"}

NOT_YET: Final = re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b")
PRINTS: Final = re.compile(r"(?<![\w.])print[(]")
LOGGED: Final = re.compile(r'\blog[.](?:info|warning|error|exception)[(]\s*"(.*?)"')
IMPURE: Final = re.compile(r"\b(today|now|utcnow|uuid4|monotonic)[(]\w*[)]|\brandom\b|\benviron\b")


def places(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Where a pattern occurs, as an editor takes it."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def imported(path: Path) -> Iterator[str]:
    """The packages that a module imports, each by its first name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield (node.module or "").split(".")[0]


def test_the_tree_is_where_these_tests_look() -> None:
    assert all((ROOT / room / "__init__.py").is_file() for room in ROOMS)
    assert len(DOMAIN) > 5
    assert len(DECISIONS) > 0


def test_a_module_holds_one_idea_in_some_three_hundred_lines() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}


def test_a_module_is_named_for_what_it_is_about() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    assert [path for path in SOURCES if path.stem in empty_words] == []


def test_nothing_is_left_for_later_and_nothing_prints() -> None:
    assert places(NOT_YET, SOURCES) == []
    assert places(PRINTS, MODULES) == []


def test_the_domain_knows_python_msgspec_and_itself() -> None:
    known = {*sys.stdlib_module_names, "msgspec", "credit_es"}
    assert {name for path in DOMAIN for name in imported(path)} <= known


def test_the_domain_is_told_the_time_and_decides_the_same_again() -> None:
    assert places(IMPURE, DOMAIN) == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_record_says_what_why_and_until_when(path: Path) -> None:
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
    text = path.read_text("utf-8")
    assert re.match(r"# \d+\. ", text)
    found = re.findall(r"^(?:#+ |\*\*)([A-Z][a-z ]+?)[.:]?(?:\*\*|$)", text, re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS


def test_decision_records_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_walls_stand_around_every_room_and_are_checked() -> None:
    walls = ConfigParser()
    walls.read(ROOT / "setup.cfg", "utf-8")
    assert set(walls["importlinter"]["root_packages"].split()) == set(ROOMS)
    standing = {s.rpartition(":")[2] for s in walls.sections() if s.startswith("importlinter:")}
    assert standing >= CONTRACTS
    assert all(section.startswith("importlinter") for section in walls.sections())
    assert "lint-imports" in (ROOT / "Makefile").read_text("utf-8")


def test_operators_are_told_what_each_line_of_the_log_means() -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    _, _, section = page.partition("## What the log says")
    told = re.findall(r"^[|] (`.*?`) [|]", section.partition("\n## ")[0], re.MULTILINE)
    explained = {event for row in told for event in re.findall("`(.*?)`", row)} - {"event"}
    assert explained == {e for path in MODULES for e in LOGGED.findall(path.read_text("utf-8"))}
