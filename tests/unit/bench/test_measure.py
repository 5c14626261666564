"""The bench's pure parts: what it counts, compares and prints."""

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import (
    cells,
    change,
    contenders,
    disk,
    engine,
    expert,
    fifty,
    floor,
    measure,
    naive,
    network,
    options,
    registry,
    transfer,
)
from bench.cells import Subject, Wheel
from bench.cold import rewritten, stored
from bench.contenders import Setting
from bench.measure import Command
from bench.session import Selection
from tests.unit.bench.conftest import FakeEngine
from torchdev.util.errors import BuildError, EngineError, InputError
from torchdev.wheels.host import Host


def wheel(name: str, version: str = "1", **more: Any) -> Wheel:
    """A locked wheel."""
    return Wheel(
        name=name,
        version=version,
        file=f"{name}-{version}-py3-none-any.whl",
        sha256="0" * 64,
        size=10,
        installed=more.get("installed", 100),
    )


def subject(cell: str, *wheels: Wheel) -> Subject:
    """A cell."""
    return Subject(id=cell, python="3.11", flavour="cu130", wheels=wheels, uv="0.13.9")


ONE = subject("one", wheel("torch", "2.14.1"), wheel("nvidia-cudnn-cu13"), wheel("pillow", "13"))
TWO = subject("two", wheel("torch", "2.15.0"), wheel("nvidia-cudnn-cu13"), wheel("pillow", "13"))


def test_order_alternates() -> None:
    """Whoever came first comes last in the next repetition."""
    assert contenders.order("abc", 0) == ["a", "b", "c"]
    assert contenders.order("abc", 1) == ["c", "b", "a"]
    assert contenders.order("abc", 2) == ["a", "b", "c"]


def test_a_layer_is_stored_once_where_all_below_it_is_equal() -> None:
    """The same layer on another one has another name, and counts again."""
    base, top = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert engine.chains([base]) == ["a" * 64]
    assert engine.chains([base, top])[1] == hashlib.sha256(f"{base} {top}".encode()).hexdigest()
    assert engine.chains([top, base])[1] != engine.chains([base, top])[1]
    images = [{"base": 100, "one": 10}, {"base": 100, "two": 20}, {"base": 100, "one": 10}]
    assert stored(images) == 130


def test_only_new_layers_are_rewritten() -> None:
    """What was there before is not written again, and what several have is written once."""
    before = [{"base": 100, "one": 10}]
    assert rewritten(before, before) == 0
    assert rewritten(before, [{"base": 100, "new": 5}, {"base": 100, "new": 5, "top": 1}]) == 6


def test_wheels_are_fetched_once() -> None:
    """The floor takes a wheel with the first cell that has it, and leaves out a cell that brings nothing new."""
    spec = floor.wanted(Path("folder"), (ONE, TWO, ONE), ["--offline"])
    assert [cell["pins"] for cell in spec["cells"]] == [
        ["torch==2.14.1", "nvidia-cudnn-cu13==1", "pillow==13"],
        ["torch==2.15.0"],
    ]


def test_the_floor_hashes_every_byte(tmp_path: Path) -> None:
    """It counts what it has read; links are not read twice."""
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"y")
    (tmp_path / "link").symlink_to("a")
    assert floor.hash_all([tmp_path]) == 1001


def test_a_naive_dockerfile_names_what_people_name() -> None:
    """The packages that were asked for, in the lock's versions; a further Debian package stands above pip."""
    text = naive.dockerfile("naive", ONE, "python:3.11", Host(), package="less")
    assert text.startswith("FROM python:3.11\nRUN apt-get update && apt-get install -y less")
    assert "pip install --no-cache-dir -c /constraints.txt torch==2.14.1 pillow==13\n" in text
    assert "nvidia" not in text
    assert "uv pip install --system --no-cache --compile-bytecode" in naive.dockerfile("uv", ONE, "base", Host())
    assert ONE.pins == "torch==2.14.1\nnvidia-cudnn-cu13==1\npillow==13\n"


def test_a_changed_package_leaves_the_others() -> None:
    """All are pinned but one, which must not be what it was; PyTorch is chosen elsewhere."""
    assert change.other_version(ONE) == ["nvidia-cudnn-cu13==1", "pillow!=13"]


ENTRY = {
    "id": "py311-cu130-torch2.14.1", "python": "3.11", "flavour": "cu130", "torch": "2.14.1", "cudnn": None,
    "variant": "plain", "arch": "amd64",
}  # fmt: skip


def test_a_cell_keeps_its_row() -> None:
    """A row's own packages are part of what was locked; rows of other cells are left out."""
    rows = [
        {"cuda": "cu130", "torch": "2.14.1", "python": "3.11", "variant": "devel"},
        {"cuda": "cu130", "torch": ["2.13.0", "2.14.1"], "packages": ["six"]},
    ]
    source = {"packages": ["numpy"], "axes": {"python": ["3.11", "3.12"]}, "rows": rows, "aliases": {"latest": "x"}}
    made = cells.own_matrix(source, [ENTRY])
    assert made["rows"] == [
        {
            "packages": ["six"], "cuda": "cu130", "python": "3.11", "torch": "2.14.1", "variant": "plain",
            "arch": "amd64",
        }
    ]  # fmt: skip
    assert made["packages"] == ["numpy"]
    assert "aliases" not in made
    with pytest.raises(InputError, match="no row"):
        cells.own_matrix(source, [{**ENTRY, "python": "3.9"}])


def test_unresolved_wheels_are_not_measured(tmp_path: Path) -> None:
    """Nothing can be compared with a cell of which not every wheel is known."""
    with pytest.raises(InputError, match="no lock"):
        cells.read_subject(tmp_path, ENTRY)
    (tmp_path / ENTRY["id"]).mkdir()
    package = '{"name": "torch", "version": "1", "file": "f", "sha256": null, "size": null, "installed": null}'
    lock = f'{{"uv": {{"version": "1"}}, "packages": [{package}]}}'
    (tmp_path / ENTRY["id"] / "lock.json").write_text(lock)
    with pytest.raises(InputError, match="resolved"):
        cells.read_subject(tmp_path, ENTRY)


def test_fifty_cells_are_those_of_pypi() -> None:
    """Newest first; no build without CUDA; devel only from CUDA 13 on; not more than asked for."""

    def build(version: str, flavour: str, origin: str = "pypi") -> dict[str, Any]:
        tags = ("cp311-cp311", "cp313-cp313t")
        wheels = [[f"torch-{version}-{tag}-manylinux_2_28_x86_64.whl", "0", 1] for tag in tags]
        fixed = {"project": "torch", "arch": "amd64", "wheels": wheels}
        return {**fixed, "version": version, "flavour": flavour, "origin": origin}

    builds = [
        build("2.9.1", "cu128"),
        build("2.13.0", "cu130"),
        build("2.13.0", "cpu"),
        build("2.99.0", "cu130", "index"),
    ]
    found = fifty.rows(builds, ["3.11", "3.13"])
    assert [(row["python"], row["torch"], row["variant"]) for row in found] == [
        ("3.11", "2.13.0", "plain"),
        ("3.11", "2.9.1", "plain"),
        ("3.11", "2.13.0", "devel"),
    ]
    assert len(fifty.rows(builds, ["3.11"], 2)) == 2


def test_a_pair_is_two_pythons_of_a_release() -> None:
    """The same PyTorch for the same CUDA; cells of one Python, of another release or another CUDA are no pair."""
    wheels = (wheel("torch", "2.14.1"),)
    first = Subject(id="first", python="3.11", flavour="cu130", wheels=wheels, uv="0.13.9")
    second = replace(first, id="second", python="3.13")
    others = [
        replace(first, id="same"),
        replace(second, id="release", wheels=(wheel("torch", "2.15.0"),)),
        replace(second, id="cuda", flavour="cu126"),
    ]
    assert transfer.of_one_release((first, *others, second)) == (first, second)
    for other in others:
        assert transfer.of_one_release((first, other)) is None


def test_served_bytes_are_those_of_the_answers() -> None:
    """Of a registry's access log; what was refused, or sent to it, does not count."""
    line = '127.0.0.1 - - [25/Nov/2026:19:32:35 +0000] "{} HTTP/1.1" {} "" "docker/26.1.5 go/go1.24.4"\n'
    log = (
        line.format("GET /v2/naive/blobs/sha256:aa", "200 1000")
        + line.format("GET /v2/naive/manifests/x", "200 24")
        + line.format("GET /v2/naive/blobs/sha256:bb", "404 77")
        + line.format("PUT /v2/naive/blobs/uploads/1", "201 88")
    )
    assert registry.served(log) == 1024


def test_the_memory_of_a_tree() -> None:
    """Of a process and all that come from it, and of no other; what is gone has none."""
    assert measure.descendants({2: 1, 3: 2, 4: 3, 5: 1}, [2]) == {2, 3, 4}
    assert measure.memory_of(os.getpid()) > 1_000_000
    assert measure.memory_of(2**30) == 0
    assert measure.parents()[os.getpid()] == os.getppid()


def python(program: str, env: "dict[str, str]") -> Command:
    """A command that runs a program in a Python of its own."""
    return Command(words=[sys.executable, "-c", program], env=env)


def test_a_command_is_measured(tmp_path: Path) -> None:
    """Its time, the memory of its children, the bytes that came in meanwhile; a failure shows its last words."""
    child = "x = bytearray(200_000_000); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(1.2)"
    program = f"import subprocess, sys; print('out'); subprocess.run([sys.executable, '-c', {child!r}])"
    counts = iter((1000, 1500))
    done = measure.run(python(program, dict(os.environ)), tmp_path / "log", received=lambda: next(counts))
    assert 1.2 < done.seconds < 20
    assert 200_000_000 < done.memory < 400_000_000
    assert (done.fetched, done.output) == (500, "out\n")
    assert 0 <= done.others < done.seconds * (os.cpu_count() or 1)
    with pytest.raises(BuildError, match="no good"):
        measure.run(python("import sys; sys.exit('no good')", {}), tmp_path / "log")
    three = python("print('out'); import sys; sys.exit(3)", {})
    assert measure.run(dataclasses.replace(three, allowed=(0, 3)), tmp_path / "log").output == "out\n"
    with pytest.raises(BuildError):
        measure.run(three, tmp_path / "log")


IGNORES, OBEYS = "trap '' INT; ", "trap 'exit 0' INT; "


@pytest.mark.parametrize("answer", [IGNORES, OBEYS])
def test_a_command_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Fifty cells that are built instead of skipped would take hours. It is gone, and so is what it started."""
    monkeypatch.setattr(measure, "PATIENCE", 0.3)
    program = f"(trap '' INT; exec sleep 600) & {answer} echo $$ $!; while :; do sleep 0.05; done"
    # Whatever has started these tests may have SIGINT ignored, which no shell could undo.
    words = ["env", "--default-signal=INT", "sh", "-c", program]
    with pytest.raises(BuildError, match="more than 2 s"):
        measure.run(Command(words=words, env=dict(os.environ), limit=1.5), tmp_path / "log")
    pids = [int(pid) for pid in (tmp_path / "log.out").read_text().split()]
    assert len(pids) == 2
    until = time.monotonic() + 5  # what is killed is there until its parent, or init, has heard of it
    while (left := [pid for pid in pids if running(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    assert left == []


def running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_busy_machine_shows(tmp_path: Path) -> None:
    """What another program takes of the processors meanwhile is counted, and is not the command's."""
    busy = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(busy) as other:
        done = measure.run(Command(words=["sleep", "1"], env=dict(os.environ)), tmp_path / "log")
        other.kill()
    assert done.others > 0.2


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    """With the figures; a registry and changes need more than a build."""
    need = disk.needed([ONE], ["cold"])
    assert need < disk.needed([ONE], ["cold", "registry"])
    assert need < disk.needed([ONE, TWO], ["cold"])
    assert disk.needed([ONE] * 4, ["debian"]) > 12_000_000_000
    assert disk.needed([ONE], ["cold"]) < disk.needed([ONE], ["cold"], ["expert"])
    assert disk.needed([ONE], ["checks"]) < disk.needed([ONE], ["quickstart"])
    disk.check(tmp_path, 1)
    with pytest.raises(EngineError, match=r"GB free at .* 1000000\.0 GB needed"):
        disk.check(tmp_path, 10**15)


def test_what_applies_to_whom() -> None:
    """The floor has no images; a registry sees the largest number of cells; an import needs one."""
    selection = Selection(frozenset(("cold", "registry", "import", "small")), (1, 4), 1)
    assert selection.applies("cold", "floor", 4)
    assert selection.applies("registry", "naive", 4)
    assert not selection.applies("registry", "naive", 1)
    assert not selection.applies("registry", "floor", 4)
    assert selection.applies("import", "torchdev", 1)
    assert not selection.applies("import", "torchdev", 4)
    assert selection.applies("small", "naive", 1)
    assert not selection.applies("small", "naive", 4)
    assert not selection.applies("nothing", "naive", 1)
    nothing = Selection(frozenset(("nothing",)), (1,), 1)
    assert nothing.applies("nothing", "uv", 1)
    assert not nothing.applies("nothing", "floor", 1)


@pytest.mark.parametrize("words", [["--only", "cold,cool"], ["--cells", "0"], ["--cells", "5"], ["--cells", "x"]])
def test_wrong_words_are_refused(words: list[str]) -> None:
    """Before anything is done."""
    with pytest.raises(InputError):
        options.selected(options.parser().parse_args(words))


def test_settings_of_the_kernel_are_written(tmp_path: Path) -> None:
    """A setting that has the value is not written; an error names the path of one that can't be written."""
    setting = tmp_path / "ip_forward"
    setting.write_text("0\n")
    network.write_setting(setting, "1\n")
    assert setting.read_text() == "1\n"
    before = setting.stat().st_mtime_ns
    network.write_setting(setting, "1\n")
    assert setting.stat().st_mtime_ns == before
    with pytest.raises(EngineError, match="can't be written") as caught:
        network.write_setting(tmp_path / "none" / "ip_forward", "1\n")
    assert caught.value.where.endswith("/none/ip_forward")


def test_engines_have_the_store_that_is_measured() -> None:
    """Layers are read in the classic store's folder; fresh engines of version 29 have containerd's unless told."""
    assert engine.CONFIG["features"] == {"containerd-snapshotter": False}


def bake_cell(name: str, python: str, torch: str) -> Subject:
    """A cell with CUDA's library, PyTorch and a small package."""
    versions = {"nvidia-cudnn-cu13": "9", "torch": torch, "sympy": "1"}
    wheels = tuple(
        Wheel(name=n, version=v, file=f"{n}-{v}-py3-none-any.whl", sha256="0" * 64, size=10, installed=100)
        for n, v in versions.items()
    )
    return Subject(id=name, python=python, flavour="cu130", wheels=wheels, uv="0.13.9")


BAKED = (bake_cell("py311-torch2.14.1", "3.11", "2.14.1"), bake_cell("py311-torch2.13.0", "3.11", "2.13.0"))


def test_cuda_stands_below_what_differs(setting: Setting, tmp_path: Path) -> None:
    """Two cells of a Python have CUDA's libraries in one step: the same base, the same words, the same file."""
    file = expert.write(tmp_path / "expert", BAKED, setting.bases.froms, Host())
    first, second = ((tmp_path / "expert" / subject.id) for subject in BAKED)
    assert (first / "cuda.txt").read_text() == (second / "cuda.txt").read_text() == "nvidia-cudnn-cu13==9\n"
    assert (first / "requirements.txt").read_text() == "torch==2.14.1\nsympy==1\n"
    assert not (first / "wheels").exists()
    baked = json.loads(file.read_text())
    targets = [baked["target"][name] for name in baked["group"]["default"]["targets"]]
    assert [target["tags"] for target in targets] == [[contenders.image("expert", subject)] for subject in BAKED]
    assert [target["context"] for target in targets] == [str(first), str(second)]
    assert {json.dumps(target["args"]) for target in targets} == {'{"BASE": "base:3.11", "UV": "0.13.9"}'}
    text = expert.dockerfile(Host())
    assert text.index("source=cuda.txt") < text.index("\nFROM cuda\n") < text.index("source=requirements.txt")
    assert text.count(expert.CACHE) == 2
    assert "UV_COMPILE_BYTECODE=1" in text


@pytest.mark.parametrize("name", ["cell", "py311-cu130-torch2.14.1"])
def test_targets_have_names_that_bake_takes(name: str) -> None:
    """Letters, digits, lines and hyphens."""
    assert expert.target(bake_cell(name, "3.11", "1")).replace("-", "").isalnum()


def test_secrets_are_in_no_command_and_no_text(setting: Setting, tmp_path: Path) -> None:
    """The values of proxies come from the environment, an index with a password from a secret."""
    host = replace(Host(), index="https://me:secret@index.invalid", proxies=(("HTTPS_PROXY", "http://me:secret@p"),))
    file = expert.write(tmp_path / "expert", BAKED, setting.bases.froms, host)
    words = " ".join(expert.command(file, host))
    assert "--set=*.args.HTTPS_PROXY" in words
    assert "secret@" not in words + file.read_text() + (tmp_path / "expert" / "Dockerfile").read_text()
    assert "secret@" in (tmp_path / "expert" / "pip.conf").read_text()


def test_folders_of_wheels_do_not_part_what_is_shared(setting: Setting, tmp_path: Path) -> None:
    """Each context has the wheels of all cells: a step's mounts are part of what it is known by."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    host = replace(Host(), folders=(wheels,))
    expert.write(tmp_path / "expert", BAKED, setting.bases.froms, host)
    assert all((tmp_path / "expert" / subject.id / "wheels").is_dir() for subject in BAKED)
    assert expert.dockerfile(host).count("source=wheels,target=/wheels") == 3


def test_all_cells_are_built_by_one_command(setting: Setting) -> None:
    """As naive ones are not: bake builds side by side, and what two have in common once."""
    own = FakeEngine(setting.workspace, "expert", lambda command: "")
    contenders.build(setting, own, "expert", BAKED)  # type: ignore[arg-type]
    [(command, _)] = own.commands
    assert command[:4] == ["docker", "buildx", "bake", "--load"]
    file = Path(next(word for word in command if word.startswith("--file=")).removeprefix("--file="))
    assert len(json.loads(file.read_text())["target"]) == 2
