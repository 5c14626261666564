"""How the results of a run are told, and what its images take up."""

from torchdev.engine.client import Engine
from torchdev.pipeline import report
from torchdev.pipeline.report import Result, Storage, storage
from torchdev.util.streams import show


def finish(results: "list[Result]", found: "Storage | None", *, as_json: bool) -> int:
    """Print results; the exit code that the worst of them stands for."""
    if as_json:
        show(report.results_json(results, found))
    else:
        show("\n" + report.results_text(results))
        if found and found.images > 1:
            show("\n" + report.storage_text(found))
    return report.exit_code(results)


def stored(results: "list[Result]", engine: Engine) -> "Storage | None":
    """What the images of some results take up on the engine; None if there is none."""
    images = [result.image for result in results if result.image and not result.removed]
    return storage(engine.layer_sizes(image) for image in images) if images else None
