"""What a recipe starts: options of the command line, checked, to one job: how many nodes, on what, which command."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from torchdev.matrix.load import Cell
from torchdev.recipes.containers import SHM
from torchdev.util import texts
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError

DOCKER, COMPOSE, DEVCONTAINER, KUBERNETES, TRAINJOB = "docker", "compose", "devcontainer", "kubernetes", "trainjob"
KINDS = (DOCKER, COMPOSE, DEVCONTAINER, KUBERNETES, TRAINJOB)
CLUSTER = (KUBERNETES, TRAINJOB)
FOR = {
    "nodes": (COMPOSE, *CLUSTER),
    "command": (DOCKER, COMPOSE, *CLUSTER),
    "files": (COMPOSE, *CLUSTER),
    "name": (COMPOSE, *CLUSTER),
    "cpus": CLUSTER,
    "memory": CLUSTER,
    "data": CLUSTER,
    "min_nodes": (KUBERNETES,),
}
"""Options that only some kinds of recipe have, with these kinds."""
OPTIONS = {"files": "--file"}
"""How an option is spelt on the command line where that is not its name."""

CPUS, MEMORY = 4, 16
"""Cores and GiB (without shared memory) of a node for each GPU, or in all if it has none."""
BATCH = 32
"""The value of train.py's --batch; it must be a multiple of the number of processes."""
TRAIN = "train.py"
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
"""The pattern of names of Services, which Pod names begin with (RFC 1035)."""
LONGEST_NAME = 40
"""Characters; names of Pods are longer, and may have 63."""
FILE_NAME = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")
"""The pattern of keys of a ConfigMap."""
NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that YAML does not allow unescaped, besides tabs and line ends."""
LARGEST = 1 << 20
"""Bytes that a ConfigMap may hold."""


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The options of a recipe; None or empty means the kind's default. Memory is in GiB."""

    kind: str
    nodes: "int | None" = None
    gpus: "int | None" = None
    command: "str | None" = None
    files: "Mapping[str, bytes] | None" = None
    name: "str | None" = None
    cpus: "int | None" = None
    memory: "int | None" = None
    shm: "int | None" = None
    data: "str | None" = None
    min_nodes: "int | None" = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job: what is started, in which image. `gpus` are those of each node, None for all; memory is in GiB.

    `command` is that of one process, empty for the image's own; torchrun starts it if there are several.
    """

    cell: Cell
    image: str
    kind: str
    name: str
    nodes: int
    least: int
    gpus: "int | None"
    command: tuple[str, ...]
    files: "Mapping[str, bytes]" = field(compare=False)
    cpus: int
    memory: int
    shm: int
    data: str
    made_by: str

    @property
    def processes(self) -> int:
        """Processes of each node: one a GPU."""
        return max(1, self.gpus or 1)

    @property
    def distributed(self) -> bool:
        """Whether there is more than one process."""
        return self.nodes * self.processes > 1

    @property
    def limit(self) -> int:
        """GiB of memory that a node may use, including /dev/shm."""
        return self.memory + self.shm

    @property
    def threads(self) -> int:
        """Threads of each process: OpenMP would take all cores that it sees, which are all of the machine's."""
        return max(1, self.cpus // self.processes)

    def torchrun(self, *options: str) -> tuple[str, ...]:
        """The torchrun command of one node. Its options have underscores: PyTorch 1.13 accepts no others."""
        return ("torchrun", *options, *_behind_torchrun(self.command))

    @property
    def alone(self) -> tuple[str, ...]:
        """The command of a single node."""
        if not self.distributed:
            return self.command
        return self.torchrun("--standalone", f"--nproc_per_node={self.processes}")


def make_job(cell: Cell, options: RecipeOptions, image: str, usual: "Mapping[str, bytes]") -> Job:
    """Check options, and fill in defaults; `usual` are the files of the training job of examples/train."""
    _check(cell, options)
    kind, nodes = options.kind, options.nodes or 1
    gpus = options.gpus if options.gpus is not None else _usual_gpus(cell, kind)
    by_gpu = max(1, gpus or 1)
    command, files = _split(options.command), dict(options.files or {})
    if not command and kind in FOR["files"]:
        command, files = _train(kind, gpus or 0, nodes * by_gpu), {**usual, **files}
    _check_files(files)
    return Job(
        cell=cell, image=image, kind=kind, name=options.name or "train", nodes=nodes,
        least=options.min_nodes or nodes, gpus=gpus, command=command, files=files,
        cpus=options.cpus or CPUS * by_gpu, memory=options.memory or MEMORY * by_gpu, shm=options.shm or SHM,
        data=options.data or "", made_by=command_line(cell, options),
    )  # fmt: skip


def command_line(cell: Cell, options: RecipeOptions) -> str:
    """The command that makes this recipe, without the folders of files."""
    words = ["python", "build.py", "recipe", cell.id, "--for", options.kind]
    for key in ("nodes", "min_nodes", "gpus", "command", "name", "cpus", "memory", "shm", "data"):
        value = getattr(options, key)
        if value is not None:
            words += [option(key), str(value)]
    words += [word for name in options.files or {} for word in (option("files"), name)]
    return shlex.join(words)


def option(key: str) -> str:
    """How an option is spelt on the command line."""
    return OPTIONS.get(key, "--" + key.replace("_", "-"))


def check_image(image: str) -> None:
    """Refuse what can't be the name of an image."""
    if refusal := texts.REFERENCE.refusal(image):
        step = "name it as the cluster pulls it: REPOSITORY, REPOSITORY:TAG or REPOSITORY@sha256:DIGEST"
        raise InputError(refusal, where="--image", next_step=step)


def _usual_gpus(cell: Cell, kind: str) -> "int | None":
    if not cell.cuda:
        return 0
    return None if kind in (DOCKER, DEVCONTAINER) else 1


def _check(cell: Cell, options: RecipeOptions) -> None:
    for key, kinds in FOR.items():
        if getattr(options, key) is not None and options.kind not in kinds:
            step = f"leave it out, or: --for {' or '.join(kinds)}"
            raise InputError(f"a recipe for {options.kind} has no use for it", where=option(key), next_step=step)
    for key, lowest in {"nodes": 1, "min_nodes": 1, "gpus": 0, "cpus": 1, "memory": 1, "shm": 1}.items():
        value = getattr(options, key)
        if value is not None and value < lowest:
            raise InputError(f"{value} is too few", where=option(key), next_step=f"{lowest} or more")
    if options.gpus and not cell.cuda:
        other = ("--gpus 0, or a cell with CUDA: ", build_py("list"))
        raise InputError(f"{cell.id} has no CUDA, so it can't use a GPU", where="--gpus", next_step=other)
    for key in ("name", "data"):
        value = getattr(options, key)
        if value is not None and not (NAME.fullmatch(value) and len(value) <= LONGEST_NAME):
            step = f"lower-case letters, digits and hyphens, a letter first, at most {LONGEST_NAME} characters"
            raise InputError(f'"{value}" can\'t be a name in Kubernetes', where=option(key), next_step=step)
    _check_elastic(options)


def _check_elastic(options: RecipeOptions) -> None:
    least, nodes = options.min_nodes, options.nodes or 1
    if least is None:
        return
    if least > nodes:
        raise InputError(f"{least} is more than --nodes {nodes}", where="--min-nodes", next_step="name fewer")
    if options.command is None:
        what = "examples/train resumes only with the same number of processes"
        raise InputError(what, where="--min-nodes", next_step="name a --command that can do with fewer")


def _split(command: "str | None") -> tuple[str, ...]:
    if command is None:
        return ()
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(f"{command}: {error}", where="--command", next_step="close the quotes") from None
    if any(map(NO_TEXT.search, words)):
        step = "have it in a file: --file"
        raise InputError("a character in it can't stand in YAML", where="--command", next_step=step)
    if not words:
        raise InputError("it is empty", where="--command", next_step='such as --command "python train.py"')
    if words[0] == "torchrun":
        step = "leave torchrun and its options out: the recipe puts it before the command, for --nodes and --gpus"
        raise InputError("torchrun is part of the recipe", where="--command", next_step=step)
    return words


def _train(kind: str, gpus: int, world: int) -> tuple[str, ...]:
    """The training job of examples/train; with GPUs it requires CUDA."""
    out = "/checkpoints/run" if kind in CLUSTER else "run"
    words = ("python", TRAIN, "--out", out, "--device", "cuda" if gpus else "cpu")
    return words if BATCH % world == 0 else (*words, "--batch", str(world * max(1, BATCH // world)))


def _behind_torchrun(command: tuple[str, ...]) -> tuple[str, ...]:
    first, *rest = command
    if first in ("python", "python3") and rest and (rest[0] == "-m" or not rest[0].startswith("-")):
        return tuple(rest)
    return command if first.endswith(".py") else ("--no_python", *command)


def _check_files(files: "Mapping[str, bytes]") -> None:
    for name in files:
        if not FILE_NAME.fullmatch(name):
            step = "letters, digits, dots, hyphens and underscores"
            raise InputError(f'"{name}" can\'t be the name of a file in a recipe', where="--file", next_step=step)
    size = sum(len(data) for data in files.values())
    if size > LARGEST:
        step = "put them into an image (FROM this one), or on a volume: --data CLAIM"
        raise InputError(f"{size:,} bytes are more than a ConfigMap holds", where="--file", next_step=step)
