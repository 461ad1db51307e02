"""What CONTRIBUTING.md says of the house is so."""

from __future__ import annotations

import os
import re

from ipsectools.daemon.doors import READING_OPS
from ipsectools.kernel.control import OPERATIONS
from ipsectools.lab.host import CHECKOUT
from tests.test_imports import ALLOWED

PAGE = os.path.join(CHECKOUT, ".github/CONTRIBUTING.md")


def rows(head: str) -> list[list[str]]:
    """The cells of a table's rows."""
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    table = text[text.index(head) :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]


def test_the_table_of_operations() -> None:
    told = {}
    for names, arguments, _ in rows("| op | arguments |"):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in told
            told[name] = arguments.strip("`")
    assert told == {name: operation.arguments for name, operation in OPERATIONS.items()}


def test_what_only_reads_needs_no_privilege() -> None:
    assert {name for name, operation in OPERATIONS.items() if not operation.needs_privilege} == READING_OPS


def test_the_table_of_rooms() -> None:
    told = {
        name.strip("/").replace("/", ".").removesuffix(".py")
        for row in rows("| room |")
        for name in re.findall(r"`([\w/.]+)`", row[0])
    }
    assert told == set(ALLOWED)


def test_the_map_of_the_tests() -> None:
    told = {name.strip("/") for row in rows("| in `tests/` |") for name in re.findall(r"`([\w/.]+)`", row[0])}
    here = os.path.join(CHECKOUT, "tests")
    folders = {name for name in os.listdir(here) if os.path.isdir(os.path.join(here, name)) and name != "__pycache__"}
    assert told == folders | {"conftest.py", "test_imports.py"}
