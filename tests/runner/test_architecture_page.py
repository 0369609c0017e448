"""docs/architecture.md says what the import graph says."""

import re

import grimp
import pytest
from toy_runs import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
TOP_LEVEL = ("algoperf", "workloads", "reference_algorithms", "scoring")


def rooms() -> dict[str, tuple[list[str], set[str]]]:
    """Room -> its modules, and the rooms that it may import."""
    section = PAGE.split("## Rooms")[1].split("\n## ")[0]
    table = [[column.strip() for column in line.strip("|").split("|")] for line in section.splitlines() if "`" in line]
    return {
        row[0]: (re.findall(r"`([\w.]+)`", row[1]), {name.strip() for name in row[3].split(",") if name.strip()})
        for row in table
        if len(row) == 4
    }


def room_of(module: str) -> str:
    """The room with the longest matching module name; `algoperf` itself takes in no module below it."""
    matches = [
        (len(name), room)
        for room, (names, _) in rooms().items()
        for name in names
        if module == name or (module.startswith(f"{name}.") and name != "algoperf")
    ]
    assert matches, f"{module} is in no room of docs/architecture.md"
    return max(matches)[1]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*TOP_LEVEL, cache_dir=None)


def test_rooms_consist_of_modules_that_exist_and_import_known_rooms(graph: grimp.ImportGraph) -> None:
    assert len(rooms()) > 10
    for room, (modules, allowed) in rooms().items():
        assert modules
        assert set(modules) <= graph.modules, room
        assert allowed <= set(rooms()) - {room}, room


def test_every_import_between_rooms_is_in_the_table(graph: grimp.ImportGraph) -> None:
    beyond = {
        f"{module} ({room_of(module)}) imports {imported} ({room_of(imported)})"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if room_of(imported) not in {room_of(module)} | rooms()[room_of(module)][1]
    }
    assert beyond == set()


def test_every_file_that_the_page_names_exists() -> None:
    files = re.findall(r"`([\w/]+/[\w/]+\.py)`", PAGE)
    assert len(files) > 20
    assert [file for file in files if not (ROOT / file).is_file()] == []
