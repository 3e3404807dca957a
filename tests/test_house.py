"""What holds for all the code of the package: lengths, imports, and where things stand."""

import ast
import itertools
from pathlib import Path

import pytest

import fedcode_jax

HOME = Path(fedcode_jax.__file__).parent
FILES = sorted(HOME.rglob("*.py"))
MOST_LINES = 60

ROOMS = (
    (
        "errors",
        "version",
        "names",
        "limits",
        "randomness",
        "host",
        "targets",
        "accelerators",
        "devices",
    ),
    ("drawing",),
    ("codebook",),
    ("wire",),
    ("compress", "schedules", "aggregation"),
    ("models", "data", "network"),
    ("algorithms",),
    ("clients",),
    ("simulation", "loggers"),
    ("config",),
    ("results", "shadow"),
    ("experiment",),
    ("advice", "bench"),
    ("paper",),
    ("cli",),
)
"""The rooms of the house; one imports only those above it, or beside it."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def length(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_no_function_is_long_without_a_reason_beside_it():
    long = []
    for path in FILES:
        text = path.read_text().splitlines()
        for function in functions(path):
            first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
            if length(function) > MOST_LINES and not text[first - 2].startswith("# Long: "):
                long.append(f"{path.relative_to(HOME)}: {function.name}, {length(function)} lines")
    assert not long


def test_a_function_that_is_long_would_be_found():
    source = "def f():\n" + "    x = 1\n" * 70
    (found,) = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef))
    assert length(found) == 71


def imports(path):
    """The rooms that a file imports from at its top."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "fedcode_jax":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedcode_jax."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("room", [room for room in FLOOR if (HOME / room).is_dir()])
def test_a_room_imports_only_rooms_that_stand_above_it(room):
    for path in (HOME / room).rglob("*.py"):
        for other in imports(path):
            assert other in FLOOR, f"{path.name} imports {other}"
            assert FLOOR[other] <= FLOOR[room], f"{path.name} imports {other}"


def modules_of(room):
    return {path.stem: path for path in (HOME / room).glob("*.py") if path.stem != "__init__"}


@pytest.mark.parametrize(
    "room", ["simulation", "clients", "aggregation", "algorithms", "compress", "wire", "experiment"]
)
def test_modules_of_a_room_do_not_import_each_other_in_circles(room):
    files = modules_of(room)
    needs = {}
    for name, path in files.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):  # those for type checkers too
            if isinstance(node, ast.ImportFrom):
                if node.module == f"fedcode_jax.{room}":
                    found |= {alias.name for alias in node.names} & set(files)
                elif (node.module or "").startswith(f"fedcode_jax.{room}."):
                    found.add(node.module.split(".")[2])
        needs[name] = found
    for _ in itertools.count():
        free = {name for name, found in needs.items() if not found}
        if not free:
            break
        needs = {name: found - free for name, found in needs.items() if name not in free}
    assert not needs
