"""What the pages say: every command and example runs, every link leads somewhere."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fedcode_jax.cli import main
from fedcode_jax.cli.advise import AdviseOptions
from fedcode_jax.cli.options import parse
from fedcode_jax.cli.run import RunOptions
from fedcode_jax.cli.words import options_of
from fedcode_jax.config import reference

HOME = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(HOME)): path.read_text(encoding="utf-8")
    for folder in (".", "fedcode_jax", "benchmarks")
    for path in sorted((HOME / folder).glob("*.md" if folder == "." else "**/*.md"))
    if path.name != "CHANGELOG.md"
}
SMALL = {
    "run": {"rounds": "1", "local.epochs": "1"},
    "sweep": {"rounds": "1", "local.epochs": "1"},
    "advise": {"rounds": "4", "local.epochs": "1", "seeds": "3", "model.name": "mlp"},
    "bench": {"local.epochs": "1", "model.name": "mlp"},
}
"""What a command is given in place of its own options or of the defaults."""
TINY = {"model.name": "mlp", "model.hidden": "8", "partition.num_clients": "2"}
"""What it is given where the page says nothing of these sections."""
SMALLER = {
    "ExperimentConfig()": 'ExperimentConfig(model={"name": "mlp", "hidden": (8,)})',
    '"rounds": 20': '"rounds": 1',
}
"""What examples in Python say, and what they do here."""
ELSEWHERE = (
    "--distributed",
    "--coordinator",
    "--target",
    "--after",
    "speech_commands",
    "cifar10",
    "prepare",
    "full",
)
"""Words of commands that need other machines, packages, a network or a long run before them: those
are read alone."""
READ = {"run": RunOptions, "advise": AdviseOptions}
"""What reads the words of a command."""


def blocks(page, *languages):
    """The code blocks of a page in these languages, each with the line in front of it."""
    found = re.findall(r"([^\n]*)\n+^```(\w*)\n(.*?)^```", PAGES[page], flags=re.M | re.S)
    return [(before, language, text) for before, language, text in found if language in languages]


def commands(text):
    """The words after ``fedcode`` of each command in a block for a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        _, found, rest = line.partition("fedcode ")
        if found and not line.startswith("pip"):
            quoted = '--command "' in line
            yield shlex.split(rest.replace('"', "") if quoted else rest, comments=True)


def shrunk(words):
    """The words of a command, for a small model and little time."""
    command, *given = words
    if command == "reproduce":
        return [*words, "--plan"]
    if command == "advise" and "--bytes-only" in given:
        return words
    if command == "run" and "--resume" in given:  # all but the rounds is as it was
        return ["2" if word.isdigit() else word for word in words]
    if command not in SMALL or {"--help", "--config"} & set(given):
        return words
    options = options_of(given)
    sections = {name.partition(".")[0] for name, _ in options}
    own = {name: value for name, value in TINY.items() if name.partition(".")[0] not in sections}
    own |= SMALL[command]
    kept = [(name, values) for name, values in options if name not in own]
    kept += [(name, [value]) for name, value in own.items()]
    return [command, *(word for name, values in kept for word in (f"--{name}", *values))]


def run(words):
    """What a command prints; it ends well."""
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = main(words)
    impossible = (
        words[0] == "advise" and code == 1
    )  # an answer as well: no schedule keeps the floor
    assert code == 0 or impossible, (words, errors.getvalue())
    return printed.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with a data set of one's own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", 60), ("test", 30)):
        arrays[f"{part}_x"] = rng.integers(256, size=(size, 8, 8, 1), dtype=np.uint8)
        arrays[f"{part}_y"] = np.arange(size) % 3
        arrays[f"{part}_user"] = np.arange(size) % 4
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path


WITH_EXAMPLES = [page for page in PAGES if blocks(page, "bash", "python")]


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_the_commands_and_examples_of_a_page(page, folder):
    """In their order, in one folder; those for elsewhere are read alone."""
    names = {"__name__": "example"}
    for before, language, text in blocks(page, "bash", "python"):
        if language == "python":
            example(before, text, names)
            continue
        for words in commands(text):
            if not any(part in word for part in ELSEWHERE for word in words):
                run(shrunk(words))
            elif words[0] in READ:
                parse(READ[words[0]], f"fedcode {words[0]}", words[1:])


def example(before, text, names):
    """Runs an example after those before it, or writes it into the file that is named in front."""
    file = re.search(r"`(my_\w+\.py)`", before)
    if file:
        Path(file[1]).write_text(text)
        return
    for said, small in SMALLER.items():
        text = text.replace(said, small)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, before, "exec"), names)


def test_the_readme_is_read_in_ten_minutes():
    assert len(PAGES["README.md"].splitlines()) < 150


def test_the_examples_have_as_many_lines_as_is_said():
    written = {
        before: len(text.splitlines())
        for before, _, text in blocks("fedcode_jax/EXTENDING.md", "python")
    }
    for said, lines in (("model in ten", 10), ("algorithm in twenty", 20), ("Data in five", 5)):
        (found,) = (count for before, count in written.items() if said in before)
        assert found == lines


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """To a file beside the page, and to a heading of a page."""
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        path, _, heading = target.partition("#")
        file = ((HOME / page).parent / path).resolve() if path else HOME / page
        assert file.exists(), target
        if heading:
            assert heading in headings(file.read_text(encoding="utf-8")), target


def headings(text):
    """The anchors of a page, as a forge makes them of its headings."""
    found = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


def test_a_page_is_found_from_the_readme():
    """By links, over other pages."""
    seen, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        linked = re.findall(r"\]\(([^)#\s]+\.md)", PAGES[page])
        paths = [((HOME / page).parent / each).resolve() for each in linked]
        names = {str(path.relative_to(HOME)) for path in paths if path.is_relative_to(HOME)}
        todo += sorted(names & set(PAGES) - seen)
    assert seen == set(PAGES)


def test_the_page_of_settings_is_made_from_them():
    assert PAGES["fedcode_jax/config/SETTINGS.md"] == reference.page()


def test_every_setting_has_a_text_in_the_page():
    page = PAGES["fedcode_jax/config/SETTINGS.md"]
    rows = re.findall(r"^\| `([^`]+)` \| `(.*?)` \| (.*) \|$", page, flags=re.M)
    assert len(rows) > 90
    assert all(text for _, _, text in rows)
