"""A size estimate held against a disk: refused with figures, or told in batches."""

import dataclasses
import json

from torchdev.image.plan import Layer, Plan
from torchdev.pipeline.capacity import as_json, as_text, check, refusal
from torchdev.pipeline.estimate import chain, needed, wheel_files
from torchdev.util.errors import Exit


def test_room_for_all(first: Plan, second: Plan) -> None:
    """Nothing is refused; no batches are shown. Neither are they where the disk can't be seen."""
    found = check([first, second], (), (), 10**12)
    assert refusal(found, prune=False) is None
    assert "1000.00 GB, with 2.00 GB kept free: enough" in as_text(found)
    assert "batch" not in as_text(found)
    unseen = check([first, second], (), (), None)
    assert refusal(unseen, prune=False) is None
    assert "the engine's disk" not in as_text(unseen)


def test_too_small_a_disk_is_refused_with_figures(first: Plan, second: Plan) -> None:
    """And the way out: the batches that --prune would build."""
    room = needed([first, second], ()) - 1
    found = check([first, second], (), (), room)
    error = refusal(found, prune=False)
    assert error
    assert error.code is Exit.BUILD
    assert "1.66 GB needed while building, 1.66 GB may be written, 2.00 GB are kept free" in error.what
    assert "--prune builds, checks, pushes and removes them in 2 batches" in error.next_step
    assert "too small" in as_text(found)
    assert f"batch 2, 1.32 GB: {second.cell.id}" in as_text(found)
    assert refusal(found, prune=True) is None


def test_cell_too_large_by_itself_is_named(first: Plan, second: Plan) -> None:
    """No batches help then."""
    found = check([first, second], (), (), 1000)
    error = refusal(found, prune=True)
    assert error
    assert f"too large even by itself: {first.cell.id}, {second.cell.id}" in error.what


def test_an_error_names_ten_cells(first: Plan) -> None:
    """Of thousands, it would fill the screen."""
    cells = (dataclasses.replace(first.cell, python=f"3.{number}") for number in range(100, 112))
    plans = [dataclasses.replace(first, cell=cell) for cell in cells]
    error = refusal(check(plans, (), (), 1000), prune=True)
    assert error
    assert error.what.endswith(f"{plans[9].cell.id}, and 2 more, which plan lists")


def test_build_cache_may_be_what_a_cut_off_build_goes_on_from(first: Plan) -> None:
    """So it is no reason to refuse."""
    found = check([first], (), (), 1000, cache=10**12)
    assert refusal(found, prune=False) is None
    assert "enough, if 1000.00 GB of build cache are used again or pruned" in as_text(found)


def test_what_is_there_needs_no_room(first: Plan) -> None:
    """Nothing changed, and a full disk."""
    found = check([first], (), chain(first), 0)
    assert found.needed == 0
    assert refusal(found, prune=False) is None


def test_json_has_the_same(first: Plan, second: Plan) -> None:
    """For programs: figures, batches, and what fits in none."""
    found = check([first, second], (), (), needed([first, second], ()) - 1)
    said = json.loads(as_json(found))
    assert (said["needed"], said["room"], said["enough"]) == (found.needed, found.room, False)
    assert [batch["cells"] for batch in said["batches"]] == [[first.cell.id], [second.cell.id]]
    fetched = wheel_files([first], ())
    assert sum(fetched.values()) == needed([second], ()) - needed([second], (), fetched) > 0
    assert [batch["needed"] for batch in said["batches"]] == [needed([first], ()), needed([second], (), fetched)]
    assert [layer["name"] for layer in said["layers"]] == [layer.name for layer in found.layers]
    assert said["sum"]["cells"] == 2
    assert json.loads(as_json(check([first], (), (), None)))["room"] is None


def test_files_of_wheels_stay_after_a_batch(first: Plan, second: Plan) -> None:
    """They are not fetched again, but take room: a disk that holds each cell alone may not hold the second after."""
    other = dataclasses.replace(second, layers=tuple(map(_other_wheels, second.layers)))
    room = needed([other], ())
    assert room >= needed([first], ())
    assert check([other], (), (), room).batches.too_large == ()
    found = check([first, other], (), (), room)
    assert (found.batches.batches, found.batches.too_large) == (((first.cell.id,),), (other.cell.id,))
    files = sum(wheel_files([first], ()).values())
    assert check([first, other], (), (), room + files).batches.batches == ((first.cell.id,), (other.cell.id,))


def _other_wheels(layer: Layer) -> Layer:
    packages = (dataclasses.replace(p, file=f"other-{p.file}", sha256=f"{p.sha256}x") for p in layer.packages)
    return dataclasses.replace(layer, packages=tuple(packages))
