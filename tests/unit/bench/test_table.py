"""What the bench measured, as figures, tables and JSON."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import options, table
from bench.figures import Figure, beside_wheels, figures, predicted_naive
from bench.results import Results, from_json
from torchdev.util.errors import InputError


def measured() -> Results:
    """What a run may come to."""
    results = Results(about={"when": "2026-11-25"})
    for seconds in (100.0, 120.0, 90.0):
        results.add("cold", "seconds", "naive", 1, seconds)
    results.add("cold", "seconds", "torchdev", 1, 60.0)
    results.add("small", "seconds", "torchdev", 1, 19.0)
    results.add("small", "seconds", "torchdev", 4, 88.0)
    results.add("debian", "rewritten", "torchdev", 1, 1.5e9)
    results.images = {"one": {"naive": 1000, "torchdev": 890}, "two": {"naive": 1000, "torchdev": 950}}
    return results


def test_a_figure_that_is_missed_says_by_how_much() -> None:
    """Ratios are of medians; a cell of several counts its share; an image is held to its own twin."""
    found = {figure.text: figure for figure in figures(measured())}
    assert found["1 cell cold, of naive"].value == 0.6
    assert found["1 cell cold, of naive"].verdict == "missed by 0.100 (20%)"
    assert found["4 cells cold, of naive"].verdict == "not measured"
    assert found["one small package, a cell"].verdict == "missed by 2.0 s (10%)"
    assert found["each image, of its naive twin (the largest ratio)"].verdict == "missed by 0.050 (6%)"
    assert found["a Debian update: bytes rewritten, a cell"].reached
    assert not Figure("", 1.0, None).reached


LIMITS = {
    "checks of one CUDA cell, alone, of e4195ce's": 0.33,
    "build, check and tag of 1 cell from bases on, of the naive pip build alone": 1.6,
    "1 cell cold, of uv in a plain Dockerfile": 1.0,
    "1 cell cold, of naive": 0.5,
    "4 cells cold, of naive": 0.33,
    "4 cells cold, of the floor": 2.0,
    "4 cells cold, of the expert's bake": 0.9,
    "stored bytes of 4 cells, of naive": 0.55,
    "stored bytes of 8 cells, predicted, of naive": 0.4,
    "each image, of its naive twin (the largest ratio)": 0.9,
    "quickstart on a bare Debian, of e4195ce's": 0.6,
    "nothing changed, 50 cells": 2.0,
    "one small package, a cell": 20.0,
    "a Debian update: bytes rewritten, a cell": 1.6e9,
    "import torch, cold page cache, of naive": 1.0,
    "import torch, cold page cache, of an image without bytecode": 0.6,
    "import torch, warm page cache, of naive": 1.0,
    "import torch, warm page cache, of an image without bytecode": 0.6,
    "push of 4 cells: bytes, of naive": 0.65,
    "push of 4 cells: time, of naive": 0.4,
    "pull of a second Python of the same release: bytes, of naive": 0.15,
    "predicted stored bytes of 4 cells: distance from measured": 0.1,
    "predicted bytes to fetch for 4 cells: distance from measured": 0.1,
}


def test_limits_are_not_restated() -> None:
    """They are those that were asked for, whatever is measured."""
    assert {figure.text: figure.limit for figure in figures(Results())} == LIMITS
    assert {figure.verdict for figure in figures(Results())} == {"not measured"}


def test_figures_of_the_whole_job() -> None:
    """The job is held to a naive build without checks; checks and quickstart to the earlier commit's."""
    results = measured()
    results.add("job", "seconds", "torchdev", 1, 160.0)
    for measure, earlier in (("checks", 240.0), ("quickstart", 440.0)):
        results.add(measure, "seconds", "e4195ce", 1, earlier)
        results.add(measure, "seconds", "torchdev", 1, 88.0)
    results.add("cold", "seconds", "uv", 1, 40.0)
    results.add("cold", "seconds", "expert", 4, 100.0)
    results.add("cold", "seconds", "torchdev", 4, 85.0)
    found = {figure.text: figure for figure in figures(results)}
    for text, value in {
        "checks of one CUDA cell, alone, of e4195ce's": 88 / 240,
        "build, check and tag of 1 cell from bases on, of the naive pip build alone": 1.6,
        "1 cell cold, of uv in a plain Dockerfile": 1.5,
        "4 cells cold, of the expert's bake": 0.85,
        "quickstart on a bare Debian, of e4195ce's": 0.2,
    }.items():
        assert found[text].value == pytest.approx(value), text
        assert found[text].reached is (value <= LIMITS[text]), text


def test_what_was_not_measured_is_said_to_be_so() -> None:
    """In a table as in the figures: results of a run that was before a measure say nothing of it."""
    results = command.read(command.ROOT / "bench" / "results.json")
    text = table.as_text(results)
    missing = {figure.text for figure in figures(results) if figure.value is None}
    lines = [line for line in text.splitlines() if "not measured" in line]
    assert {line.split("|")[1].strip() for line in lines if line.startswith("|")} == missing


def test_a_prediction_is_held_to_what_was_measured() -> None:
    """Too much and too little are both wrong."""
    for predicted, error in ((110, 0.1), (80, 0.2)):
        results = Results()
        results.add("predicted", "bytes", "torchdev", 4, predicted)
        results.add("stored", "bytes", "torchdev", 4, 100)
        found = next(f for f in figures(results) if f.text.startswith("predicted stored"))
        assert found.value == pytest.approx(error)


def test_naive_images_are_predicted_from_those_that_were_built() -> None:
    """Bases are shared by the cells of a Python, Debian by all; wheels by none."""
    beside = beside_wheels([(1000, 600), (1100, 700)], base=200)
    assert beside == 200
    assert predicted_naive([600, 700, 600], ["3.11", "3.11", "3.13"], beside, 200, 120) == 1900 + 600 + 120 + 2 * 80


def test_results_survive_json() -> None:
    """And something else is refused in words."""
    results = measured()
    results.missing["registry, naive"] = "no\n  way"
    again = from_json(results.to_json(), "file")
    assert again == results
    with pytest.raises(InputError, match="not a result"):
        from_json("{}", "file")


def test_the_table_tells_all() -> None:
    """Medians with their range, figures with their verdict, what was not measured with the reason."""
    results = measured()
    results.missing["registry, naive"] = "no\n  way"
    text = table.as_text(results)
    assert "100.0 (90.0 to 120.0) s" in text
    assert "60.0 s" in text
    assert "not measured: registry, naive: no way" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:5]}) == 1


def test_the_page_has_what_was_measured() -> None:
    """docs/bench.md shows bench/results.json, if there is one, and is otherwise left as it is."""
    page, file = options.ROOT / "docs" / "bench.md", command.ROOT / "bench" / "results.json"
    text = page.read_text(encoding="utf-8")
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    if file.exists():
        assert table.in_page(text, command.read(file)) == text, "python -m bench --table FILE --page docs/bench.md"
    changed = table.in_page(text, measured())
    assert table.in_page(changed, measured()) == changed
    assert changed.partition(table.BEGIN)[0] == text.partition(table.BEGIN)[0]
    assert changed.partition(table.END)[2] == text.partition(table.END)[2]
    assert "100.0 (90.0 to 120.0) s" in changed


class Asked(Results):
    """Results that note what they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[tuple[str, str]] = set()

    def get(self, measure: str, quantity: str, contender: str, cells: int) -> "float | None":
        """Nothing was measured."""
        self.keys.add((measure, quantity))
        return None


def test_every_quantity_that_is_measured_has_a_row() -> None:
    """The figures are made of quantities that the table shows."""
    shown = {(measure, quantity) for measure, quantity, _, _ in table.ROWS}
    assert {(m, q) for m, q, _, _ in measured().values} <= shown
    asked = Asked()
    figures(asked)
    assert {("job", "seconds"), ("checks", "seconds"), ("quickstart", "seconds")} <= asked.keys
    assert asked.keys <= shown


def test_the_table_is_printed_by_a_command_of_its_own(tmp_path: Path) -> None:
    """Without root, an engine or a network."""
    file = tmp_path / "results.json"
    file.write_text(measured().to_json())
    words = [sys.executable, "-m", "bench", "--table", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=options.ROOT)
    assert done.stdout == table.as_text(measured())
