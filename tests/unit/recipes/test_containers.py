"""How a container is started here: the words of the docker command, and who, where, with what."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.engine.gpus import docker_options
from torchdev.image.plan import Plan
from torchdev.recipes import containers, files, jobs
from torchdev.recipes.containers import CACHES, LIMITS, Granted, Start
from torchdev.util.errors import EngineError, GpuError

ALL = Start(
    image="torchdev:x",
    user="7:8",
    folder=Path("/here"),
    cache=Path("/kept"),
    gpus=("--gpus", "all"),
    terminal=True,
    command=("a", "b c"),
)


def test_everything_that_is_to_be_given_is_asked_for() -> None:
    """To the letter, in an order that docker takes: options, image, command."""
    assert containers.arguments(ALL) == [
        "run", "--rm", "--interactive", "--tty", "--gpus", "all", "--shm-size", "8g",
        "--ulimit", "memlock=-1", "--ulimit", "stack=67108864", "--user", "7:8", "--group-add", "0",
        "--mount", "type=bind,source=/here,target=/workspace", "--mount", "type=bind,source=/kept,target=/cache",
        "--env", "XDG_CACHE_HOME=/cache", "--env", "TRITON_CACHE_DIR=/cache/triton",
        "--env", "TORCHINDUCTOR_CACHE_DIR=/cache/inductor", "torchdev:x", "a", "b c",
    ]  # fmt: skip


def test_nothing_is_asked_for_that_can_not_be_given() -> None:
    """No GPU, no limit, no cache, no terminal; a shell is the image's own command."""
    bare = Start(image="torchdev:x", user="7:8", folder=Path("/here"), cache=None, limits=(), shm=2)
    assert containers.arguments(bare) == [
        "run", "--rm", "--interactive", "--shm-size", "2g", "--user", "7:8", "--group-add", "0",
        "--mount", "type=bind,source=/here,target=/workspace", "torchdev:x",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["/a", "/a:b", "/a,b", '/a"b,c', "/a b"])
def test_any_folder_can_be_mounted(folder: str) -> None:
    """What --mount is given is read as CSV."""
    (fields,) = csv.reader([containers.mount(Path(folder), "/workspace")])
    assert fields == ["type=bind", f"source={folder}", "target=/workspace"]


@pytest.mark.parametrize(
    ("caller", "owner", "rootless", "ids", "said"),
    [
        ((1001, 100), (0, 0), False, "1001:100", ""),
        ((0, 0), (1001, 100), False, "1001:100", "folder's owner, 1001"),
        ((0, 0), (0, 0), False, "0:0", "you are root, and this folder is root's"),
        ((1001, 100), (1001, 100), True, "0:0", "rootless"),
    ],
)
def test_files_in_the_folder_are_the_callers(
    caller: "tuple[int, int]", owner: "tuple[int, int]", rootless: bool, ids: str, said: str
) -> None:
    """Root gives them to the folder's owner; in a rootless engine root is the caller."""
    user = containers.user_for(caller, owner, rootless=rootless)
    assert user.ids == ids
    assert said in user.note
    assert bool(said) == bool(user.note)


def test_rootless_engines_are_known_by_what_they_say() -> None:
    """As `docker info` lists it."""
    assert containers.is_rootless({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]})
    assert not containers.is_rootless({"SecurityOptions": ["name=seccomp,profile=builtin"]})
    assert not containers.is_rootless({"SecurityOptions": None})


NO_GPU, NO_LIMIT, BROKEN = GpuError("no toolkit"), EngineError("error setting rlimit"), EngineError("no space left")


@pytest.mark.parametrize(
    ("wanted", "gpu", "limits", "expected", "tries"),
    [
        (True, True, {"memlock", "stack"}, Granted(True, None, tuple(LIMITS)), 1),
        (False, False, {"memlock", "stack"}, Granted(False, None, tuple(LIMITS)), 1),
        (True, False, {"memlock", "stack"}, Granted(False, NO_GPU, tuple(LIMITS)), 5),
        (True, True, {"stack"}, Granted(True, None, ("stack",)), 5),
        (True, False, set(), Granted(False, NO_GPU, ()), 5),
        (False, True, {"memlock"}, Granted(False, None, ("memlock",)), 4),
    ],
)
def test_what_an_engine_gives_is_found_by_trying(
    wanted: bool, gpu: bool, limits: "set[str]", expected: Granted, tries: int
) -> None:
    """All at once, and only if that fails each by itself."""
    tried: list[tuple[bool, tuple[str, ...]]] = []

    def attempt(with_gpu: bool, names: tuple[str, ...]) -> "EngineError | None":
        tried.append((with_gpu, names))
        if with_gpu and not gpu:
            return NO_GPU
        return None if set(names) <= limits else NO_LIMIT

    assert containers.granted(wanted, attempt) == expected
    assert len(tried) == tries


def test_engine_that_starts_nothing_is_a_failure() -> None:
    """Not a container without GPU and limits."""
    with pytest.raises(EngineError, match="no space left"):
        containers.granted(True, lambda gpu, names: BROKEN)


def test_gpus_are_asked_for_as_the_engine_has_them() -> None:
    """By the toolkit, or by CDI."""
    listed = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
    assert docker_options({}) == ("--gpus", "all")
    assert docker_options(listed) == ("--device", "nvidia.com/gpu=all")


@pytest.fixture
def script(plan: Plan, tmp_path: Path) -> Path:
    """run.sh of a recipe, in a folder with a docker command that tells its arguments."""
    job = jobs.make_job(plan.cell, jobs.RecipeOptions(kind=jobs.DOCKER), "torchdev:x", {})
    (tmp_path / "run.sh").write_bytes(files.make(job, ROOT / "templates")["run.sh"].data)
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for name in ("run.sh", "docker"):
        (tmp_path / name).chmod(0o755)
    return tmp_path / "run.sh"


def told(script: Path, *words: str, **variables: str) -> "list[str]":
    """What run.sh tells docker."""
    here = script.parent
    environment = {"PATH": f"{here}:{os.environ['PATH']}", "HOME": str(here), **variables}
    done = subprocess.run(
        [str(script), *words],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.splitlines()


def test_script_and_run_ask_for_the_same(script: Path) -> None:
    """The recipe for Docker is what `build.py run` does where everything can be given."""
    here = script.parent
    owner = here.stat()
    user = containers.user_for((os.getuid(), os.getgid()), (owner.st_uid, owner.st_gid), rootless=False).ids
    cache = here / ".cache" / "torchdev" / "containers"
    start = Start(
        image="torchdev:x", user=user, folder=here, cache=cache, gpus=("--gpus", "all"), command=("python", "a b")
    )
    assert told(script, "python", "a b") == containers.arguments(start)
    assert cache.is_dir()


def test_script_can_be_told_to_ask_for_less(script: Path) -> None:
    """For an engine without GPUs, with CDI, or without the right to lift limits."""
    assert "--gpus" not in told(script, TORCHDEV_GPUS="")
    assert "nvidia.com/gpu=all" in told(script, TORCHDEV_GPUS="--device nvidia.com/gpu=all")
    assert not [word for word in told(script, TORCHDEV_LIMITS="") if "memlock" in word]


def test_command_of_a_recipe_is_the_scripts_own(plan: Plan, script: Path) -> None:
    """With torchrun for several GPUs, and another command in its place where one is named."""
    options = jobs.RecipeOptions(kind=jobs.DOCKER, gpus=2, command="my.py 'a b'")
    job = jobs.make_job(plan.cell, options, "torchdev:x", {})
    script.write_bytes(files.make(job, ROOT / "templates")["run.sh"].data)
    assert told(script)[-5:] == ["torchrun", "--standalone", "--nproc_per_node=2", "my.py", "a b"]
    assert told(script, "bash")[-2:] == ["torchdev:x", "bash"]
    assert told(script)[3:5] == ["--gpus", "2"]


def test_caches_are_those_of_the_image(script: Path) -> None:
    """The same variables in every kind of recipe that has a folder for caches."""
    words = told(script)
    assert {word for word in words if "=/cache" in word and "target" not in word} == {
        f"{k}={v}" for k, v in CACHES.items()
    }
