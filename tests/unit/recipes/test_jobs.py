"""What a recipe starts: options to one job; each option that can't be granted is refused, with what to do instead."""

from itertools import pairwise
from typing import Any

import pytest

from torchdev.matrix.load import Cell
from torchdev.recipes import jobs
from torchdev.recipes.jobs import Job, RecipeOptions
from torchdev.util.errors import Exit, InputError
from torchdev.util.positions import Position

USUAL = {"train.py": b"pass\n", "digits.csv.gz": b"\x1f\x8b"}
CPU = Cell(
    python="3.11",
    flavour="cpu",
    torch="2.13.0",
    requirements=("torch==2.13.0",),
    position=Position("matrix.yaml", 6, 5),
)


def job_of(cell: Cell, kind: str, **options: Any) -> Job:
    """The job of some options."""
    return jobs.make_job(cell, RecipeOptions(kind=kind, **options), "torchdev:x", USUAL)


@pytest.mark.parametrize(
    ("kind", "of_cuda", "of_cpu"),
    [("docker", None, 0), ("devcontainer", None, 0), ("compose", 1, 0), ("kubernetes", 1, 0), ("trainjob", 1, 0)],
)
def test_gpus_are_what_is_usual_for_the_kind(cell: Cell, kind: str, of_cuda: "int | None", of_cpu: int) -> None:
    """All for one container on a machine of one's own, one in a cluster, none for a cell without CUDA."""
    assert (job_of(cell, kind).gpus, job_of(CPU, kind).gpus) == (of_cuda, of_cpu)


def test_resources_grow_with_gpus(cell: Cell) -> None:
    """By node: cores and memory a GPU, shared memory on top, one process a GPU, cores shared among processes."""
    one, eight = job_of(cell, "kubernetes"), job_of(cell, "kubernetes", gpus=8)
    assert (one.cpus, one.memory, one.shm, one.limit, one.processes, one.threads) == (4, 16, 8, 24, 1, 4)
    assert (eight.cpus, eight.memory, eight.limit, eight.processes, eight.threads) == (32, 128, 136, 8, 4)
    assert job_of(cell, "kubernetes", gpus=8, cpus=4).threads == 1


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("python my.py -x", ["my.py", "-x"]),
        ("my.py", ["my.py"]),
        ("python3 -m my.job --epochs 3", ["-m", "my.job", "--epochs", "3"]),
        ("python -u my.py", ["--no_python", "python", "-u", "my.py"]),
        ("bash run.sh", ["--no_python", "bash", "run.sh"]),
        ("python", ["--no_python", "python"]),
    ],
)
def test_torchrun_is_put_before_a_command(cell: Cell, command: str, started: "list[str]") -> None:
    """Only where there is more than one process; it starts Python itself, unless it is told not to."""
    one, two = job_of(cell, "kubernetes", command=command), job_of(cell, "kubernetes", command=command, gpus=2)
    assert " ".join(one.alone) == command
    assert list(two.alone) == ["torchrun", "--standalone", "--nproc_per_node=2", *started]


@pytest.mark.parametrize(
    ("nodes", "gpus", "batch"), [(1, 1, None), (2, 1, None), (4, 8, None), (3, 1, "30"), (5, 8, "40"), (1, 3, "30")]
)
def test_training_job_gets_a_batch_that_can_be_shared(cell: Cell, nodes: int, gpus: int, batch: "str | None") -> None:
    """A multiple of the number of processes, or train.py would refuse."""
    words = job_of(cell, "kubernetes", nodes=nodes, gpus=gpus).command
    assert dict(pairwise(words)).get("--batch") == batch


def test_training_job_never_falls_back_to_the_cpu(cell: Cell) -> None:
    """Where GPUs are asked for, train.py must have them."""
    assert job_of(cell, "kubernetes").command[-2:] == ("--device", "cuda")
    assert job_of(cell, "kubernetes", gpus=0).command[-2:] == ("--device", "cpu")


def test_files_are_those_of_the_job(cell: Cell) -> None:
    """Of examples/train unless another command is named; named ones are added, or take their place."""
    assert job_of(cell, "kubernetes").files == USUAL
    assert job_of(cell, "kubernetes", command="my.py").files == {}
    assert job_of(cell, "kubernetes", files={"train.py": b"other\n"}).files == {**USUAL, "train.py": b"other\n"}
    assert (job_of(cell, "docker").files, job_of(cell, "docker").command) == ({}, ())


def test_command_line_makes_the_same_recipe_again(cell: Cell) -> None:
    """It stands in each file; what was not asked for is not in it."""
    made = job_of(cell, "kubernetes", nodes=2, command="python my.py 'a b'", files={"my.py": b""}).made_by
    start = f"python build.py recipe {cell.id} --for kubernetes"
    assert made == f"""{start} --nodes 2 --command 'python my.py '"'"'a b'"'"'' --file my.py"""


@pytest.mark.parametrize(
    ("cell_of", "kind", "options", "where", "said"),
    [
        ("cuda", "kubernetes", {"nodes": 0}, "--nodes", "0 is too few"),
        ("cuda", "kubernetes", {"gpus": -1}, "--gpus", "-1 is too few"),
        ("cuda", "kubernetes", {"shm": 0}, "--shm", "too few"),
        ("cpu", "kubernetes", {"gpus": 1}, "--gpus", "has no CUDA"),
        ("cuda", "docker", {"nodes": 2}, "--nodes", "docker has no use"),
        ("cuda", "devcontainer", {"command": "x"}, "--command", "devcontainer has no use"),
        ("cuda", "compose", {"data": "x"}, "--data", "compose has no use"),
        ("cuda", "docker", {"files": {"x": b""}}, "--file", "docker has no use"),
        ("cuda", "trainjob", {"min_nodes": 1}, "--min-nodes", "trainjob has no use"),
        ("cuda", "kubernetes", {"nodes": 2, "min_nodes": 3, "command": "x"}, "--min-nodes", "more than --nodes 2"),
        ("cuda", "kubernetes", {"nodes": 2, "min_nodes": 1}, "--min-nodes", "with the same number of processes"),
        ("cuda", "kubernetes", {"name": "My_Job"}, "--name", "can't be a name"),
        ("cuda", "kubernetes", {"name": "a" * 41}, "--name", "can't be a name"),
        ("cuda", "kubernetes", {"data": "a/b"}, "--data", "can't be a name"),
        ("cuda", "kubernetes", {"command": ""}, "--command", "empty"),
        ("cuda", "kubernetes", {"command": "python 'x"}, "--command", "No closing quotation"),
        ("cuda", "compose", {"command": "echo '\x1b[1m'"}, "--command", "can't stand in YAML"),
        ("cuda", "docker", {"command": "echo 'a\u2028b'"}, "--command", "can't stand in YAML"),
        ("cuda", "docker", {"command": "echo '\udcff'"}, "--command", "can't stand in YAML"),
        ("cuda", "kubernetes", {"command": "torchrun x.py"}, "--command", "part of the recipe"),
        ("cuda", "kubernetes", {"files": {"a b": b""}}, "--file", "can't be the name of a file"),
        ("cuda", "kubernetes", {"files": {"..x": b""}}, "--file", "can't be the name of a file"),
        ("cuda", "kubernetes", {"files": {"big": b"x" * (1 << 20)}}, "--file", "more than a ConfigMap holds"),
    ],
)
def test_what_can_not_be_is_refused(cell: Cell, cell_of: str, kind: str, options: Any, where: str, said: str) -> None:
    """With the option, the reason and the way out."""
    with pytest.raises(InputError, match=said) as caught:
        job_of(cell if cell_of == "cuda" else CPU, kind, **options)
    assert (caught.value.where, caught.value.code, bool(caught.value.next_step)) == (where, Exit.INPUT, True)


@pytest.mark.parametrize(
    "image",
    [
        "torchdev",
        "torchdev:py311-cu130",
        "ghcr.io/me/torchdev:py311",
        "registry.example:5000/a/b@sha256:" + "0" * 64,
        "ghcr.io/me/torchdev:py311@sha256:" + "f" * 64,
    ],
)
def test_names_of_images_are_taken(image: str) -> None:
    """As registries and engines write them."""
    jobs.check_image(image)


@pytest.mark.parametrize("image", ["Torchdev", "a b", "x;y", "a@sha256:12", "-a", "a:b:c:", "$(x)"])
def test_other_names_of_images_are_refused(image: str) -> None:
    """Before they are in any file."""
    with pytest.raises(InputError, match="is not the name of an image"):
        jobs.check_image(image)
