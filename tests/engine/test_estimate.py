"""What is told beforehand is what is stored: within 10%, on every image that the engine has."""

import pytest

from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.pipeline.estimate import estimate_layers, total
from torchdev.pipeline.report import storage

WITHIN = 0.1


def test_estimate_is_what_is_stored(engine: Engine, project: Project) -> None:
    """Each image by itself, and all of them together with what they share."""
    plans = [
        plan
        for plan in project.plans(project.by_lock(project.matrix.cells)[0])
        if (image := engine.image(plan.tags[0])) and image.labels.get("io.torchdev.lock") == plan.lock.digest
    ]
    if not plans:
        pytest.skip("no cell of the matrix was built here")
    for plan in plans:
        measured = sum(size for _, size in engine.layer_sizes(plan.tags[0]))
        assert total(estimate_layers([plan], ())).stored == pytest.approx(measured, rel=WITHIN)
    stored = storage(engine.layer_sizes(plan.tags[0]) for plan in plans).stored
    assert total(estimate_layers(plans, ())).stored == pytest.approx(stored, rel=WITHIN)
