"""The grid of Pythons and CUDAs."""

import json

from torchdev.catalog import grid, releases


def test_each_box_has_releases_or_a_reason() -> None:
    """No blank is without its reason, and no box says what does not exist."""
    made = grid.make()
    for (python, flavour), box in made.boxes.items():
        assert bool(box.torch) != bool(box.reason)
        assert all(releases.find(torch, flavour, "amd64", python) for torch in box.torch)
    assert made.boxes["3.9", "cu130"].reason == "to 2.8"
    assert made.boxes["3.14", "cu118"].reason == "from 2.9"


def test_releases_are_drawn_together_by_minor_version() -> None:
    """Neighbours become a span; a gap stays a gap."""
    assert grid.spans(["2.8.0", "2.9.0", "2.9.1", "2.11.0"]) == "2.8-2.9, 2.11"
    assert grid.spans(["2.13.0"]) == "2.13"


def test_text_markdown_and_json_say_the_same() -> None:
    """One source, three forms."""
    made = grid.make(["3.9", "3.11"], ["cu118", "cu130"])
    boxes = json.loads(grid.as_json(made))
    assert len(boxes) == 4
    for box in boxes:
        shown = grid.spans(box["torch"]) if box["torch"] else f"({box['reason']})"
        assert shown in grid.as_text(made)
        assert f"| {shown} |" in grid.as_markdown(made)
