"""The documentation is true: its examples run, its links lead somewhere, its commands exist."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
import typer.main
from pages import FENCE, ROOT, blocks, run_blocks

from zoneplate.acquisition.cli import app
from zoneplate.analysis.acceptance import judge, verdict_document
from zoneplate.analysis.lot_specification import load_specification
from zoneplate.simulators import Specimen

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PACKAGES = ("devices", "simulators", "plans", "analysis", "acquisition")

OPENS_AN_INSTRUMENT = ("zoneplate.acquisition.startup",)
"""Modules that do so when they are imported: for the queue server."""

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def modules() -> list[str]:
    names: list[str] = []
    for package in PACKAGES:
        found = importlib.import_module(f"zoneplate.{package}")
        names.append(found.__name__)
        names += [m.name for m in pkgutil.walk_packages(found.__path__, f"{found.__name__}.")]
    return [name for name in names if name not in OPENS_AN_INSTRUMENT]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstring_examples_run(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    tried = 0
    for name in modules():
        if name.split(".")[1] == package:
            result = doctest.testmod(importlib.import_module(name), optionflags=options)
            assert result.failed == 0, f"{name}: see the output above"
            tried += result.attempted
    assert tried > 0


def anchors(page: Path) -> set[str]:
    """Headings as GitHub turns them into anchors."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page: Path):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}"
        assert ROOT in (there, *there.parents), f"{target} lies outside the repository"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)} links to {target}"


def test_every_page_and_picture_is_linked():
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text())
        if not re.match(r"\w+:", target)
    }
    for file in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/pictures/*")]:
        assert file in linked or file == ROOT / "docs" / "index.md", name_of(file)


def commands() -> Iterator[tuple[Path, str]]:
    """Every `zoneplate ...` of the documentation and of the commands' own help."""
    for page in PAGES:
        for code in blocks(page, "sh"):
            for line in code.replace("\\\n", " ").splitlines():
                if line.strip().startswith("zoneplate "):
                    yield page, line.strip()
        for code in INLINE.findall(FENCE.sub("", page.read_text())):
            if code.startswith("zoneplate ") and "..." not in code:
                yield page, code


@pytest.mark.parametrize(("page", "line"), [pytest.param(p, c, id=c) for p, c in commands()])
def test_commands_shown_exist(page: Path, line: str):
    group: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("-"):
        assert words == ["--help"]
        return
    assert words[0] in group.commands, f"{name_of(page)}: {line}"
    command = group.commands[words[0]]
    if "--help" in words:
        return
    if len(words) == 1 and any(one.required for one in command.params):
        return  # the bare name of a command
    context = command.make_context(words[0], words[1:])
    assert context is not None


def test_make_targets_shown_exist():
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        shown = [
            *re.findall(r"^make ([a-z-]+)", "\n".join(blocks(page, "sh")), re.MULTILINE),
            *re.findall(r"`make ([a-z-]+)`", text),
        ]
        assert set(shown) <= rules, name_of(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_shown_uses_names_that_exist(page: Path):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoneplate"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{name_of(page)}: {name.name}"


def test_specimen_shown_is_accepted(tmp_path: Path):
    page = ROOT / "docs" / "specimen-files.md"
    (table,) = blocks(page, "csv")
    file = tmp_path / "three.csv"
    file.write_text(table)
    specimen = Specimen.load(file)
    assert [len(particle.voids) for particle in specimen.particles] == [1, 0, 0]
    assert "904.778684" in run_blocks(page, tmp_path)


@pytest.mark.long
def test_first_hour_runs(tmp_path: Path):
    printed = run_blocks(ROOT / "docs" / "first-hour.md", tmp_path)
    assert "particles on the map" in printed
    assert "success" in printed


@pytest.fixture(scope="session")
def screened(readme_folder: Path) -> Path:
    """What the script of the README leaves."""
    return readme_folder / "demo" / "script"


def test_script_of_the_readme_prints_its_answer(readme_folder: Path):
    assert "particles hold a void" in (readme_folder / "printed").read_text()


Rows = list[tuple[str, str]]


def documented() -> dict[str, Rows]:
    """Tables of `docs/results.md` by heading: the names in the first column, and the second."""
    tables: dict[str, Rows] = {}
    heading = ""
    for line in (ROOT / "docs" / "results.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").lower()
        elif line.startswith("| `"):
            names, kind = line.strip("| ").split("|")[:2]
            tables.setdefault(heading, []).extend(
                (name, kind.strip()) for name in re.findall(r"`([^`]+)`", names)
            )
    return tables


def expanded(tables: dict[str, Rows], heading: str, prefix: str = "") -> set[str]:
    """Paths of a table; a row whose type is another table stands for all of its rows."""
    paths: set[str] = set()
    for name, kind in tables[heading]:
        block = re.fullmatch(r"\[(.+)\]\(#.+\)", kind)
        if block and block.group(1) in tables:
            paths |= expanded(tables, block.group(1), f"{prefix}{name}.")
        else:
            paths.add(prefix + name)
    return paths


def leaves(value: Any, path: str = "") -> set[str]:
    """Paths of everything in a JSON document; members of lists are `name[]`."""
    if isinstance(value, dict) and value:
        return set().union(*(leaves(v, f"{path}.{k}" if path else k) for k, v in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(leaves(one, f"{path}[]") for one in value))
    return {path}


def fits(path: str, pattern: str) -> bool:
    parts = (r"[^.]+" if part.startswith("<") else re.escape(part) for part in pattern.split("."))
    return re.fullmatch(r"\.".join(parts), path) is not None


def test_every_field_of_the_results_is_documented(screened: Path):
    document = json.loads((screened / "results.json").read_text())
    tables = [pd.read_csv(screened / name) for name in ("particles.csv", "voids.csv")]
    lot = load_specification(ROOT / "examples" / "lot.toml")
    document["verdict"] = verdict_document(judge(lot, *tables))
    patterns = expanded(documented(), "results.json")
    found = leaves({name: value for name, value in document.items() if name != "truth"})
    undocumented = {p for p in found if not any(fits(p, pattern) for pattern in patterns)}
    assert not undocumented
    names = {part.removesuffix("[]") for path in found for part in path.split(".")}
    shown = {part.removesuffix("[]") for path in patterns for part in path.split(".")}
    of_files_only = {"file", "format", "energy_kev", "invalid_frames", "truth"}
    assert {name for name in shown if name[0] != "<"} - names <= of_files_only
    assert leaves(document["truth"]) <= found


@pytest.mark.parametrize("table", ["particles.csv", "voids.csv", "mosaic.csv", "radii.csv"])
def test_every_column_is_documented(screened: Path, table: str):
    columns = set(pd.read_csv(screened / table).columns)
    assert {name for name, _ in documented()[table]} == columns


def test_layout_of_the_volume_file_is_documented(screened: Path):
    with h5py.File(screened / "volume.h5") as file:
        members = set(file["region_0"])
    assert {name for name, _ in documented()["volume.h5"]} == members


def test_every_yes_beside_the_peers_is_a_test_that_exists():
    defined = {
        node.name
        for path in ROOT.glob("tests/**/test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/peers.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| feature")
    ]
    assert len(rows) > 25
    for feature, *_, ours in rows:
        named = re.findall(r"`(test_\w+)`", ours)
        assert set(named) <= defined, (feature, ours)
        assert named or ours == "no", f"{feature}: {ours!r} names no test"
