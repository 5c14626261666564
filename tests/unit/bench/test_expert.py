"""The bake file that an expert writes by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import contenders, expert
from bench.cells import Subject, Wheel
from bench.contenders import Setting
from tests.unit.bench.conftest import FakeEngine
from torchdev.wheels.host import Host


def cell(name: str, python: str, torch: str) -> Subject:
    """A cell with CUDA's library, PyTorch and a small package."""
    versions = {"nvidia-cudnn-cu13": "9", "torch": torch, "sympy": "1"}
    wheels = tuple(
        Wheel(name=n, version=v, file=f"{n}-{v}-py3-none-any.whl", sha256="0" * 64, size=10, installed=100)
        for n, v in versions.items()
    )
    return Subject(id=name, python=python, flavour="cu130", wheels=wheels, uv="0.13.9")


CELLS = (cell("py311-torch2.14.1", "3.11", "2.14.1"), cell("py311-torch2.13.0", "3.11", "2.13.0"))


def test_cuda_stands_below_what_differs(setting: Setting, tmp_path: Path) -> None:
    """Two cells of a Python have CUDA's libraries in one step: the same base, the same words, the same file."""
    file = expert.write(tmp_path / "expert", CELLS, setting.bases.froms, Host())
    first, second = ((tmp_path / "expert" / subject.id) for subject in CELLS)
    assert (first / "cuda.txt").read_text() == (second / "cuda.txt").read_text() == "nvidia-cudnn-cu13==9\n"
    assert (first / "requirements.txt").read_text() == "torch==2.14.1\nsympy==1\n"
    assert not (first / "wheels").exists()
    baked = json.loads(file.read_text())
    targets = [baked["target"][name] for name in baked["group"]["default"]["targets"]]
    assert [target["tags"] for target in targets] == [[contenders.image("expert", subject)] for subject in CELLS]
    assert [target["context"] for target in targets] == [str(first), str(second)]
    assert {json.dumps(target["args"]) for target in targets} == {'{"BASE": "base:3.11", "UV": "0.13.9"}'}
    text = expert.dockerfile(Host())
    assert text.index("source=cuda.txt") < text.index("\nFROM cuda\n") < text.index("source=requirements.txt")
    assert text.count(expert.CACHE) == 2
    assert "UV_COMPILE_BYTECODE=1" in text


@pytest.mark.parametrize("name", ["cell", "py311-cu130-torch2.14.1"])
def test_targets_have_names_that_bake_takes(name: str) -> None:
    """Letters, digits, lines and hyphens."""
    assert expert.target(cell(name, "3.11", "1")).replace("-", "").isalnum()


def test_secrets_are_in_no_command_and_no_text(setting: Setting, tmp_path: Path) -> None:
    """The values of proxies come from the environment, an index with a password from a secret."""
    host = replace(Host(), index="https://me:secret@index.invalid", proxies=(("HTTPS_PROXY", "http://me:secret@p"),))
    file = expert.write(tmp_path / "expert", CELLS, setting.bases.froms, host)
    words = " ".join(expert.command(file, host))
    assert "--set=*.args.HTTPS_PROXY" in words
    assert "secret@" not in words + file.read_text() + (tmp_path / "expert" / "Dockerfile").read_text()
    assert "secret@" in (tmp_path / "expert" / "pip.conf").read_text()


def test_folders_of_wheels_do_not_part_what_is_shared(setting: Setting, tmp_path: Path) -> None:
    """Each context has the wheels of all cells: a step's mounts are part of what it is known by."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    host = replace(Host(), folders=(wheels,))
    expert.write(tmp_path / "expert", CELLS, setting.bases.froms, host)
    assert all((tmp_path / "expert" / subject.id / "wheels").is_dir() for subject in CELLS)
    assert expert.dockerfile(host).count("source=wheels,target=/wheels") == 3


def test_all_cells_are_built_by_one_command(setting: Setting) -> None:
    """As naive ones are not: bake builds side by side, and what two have in common once."""
    own = FakeEngine(setting.site, "expert", lambda command: "")
    contenders.build(setting, own, "expert", CELLS)  # type: ignore[arg-type]
    [(command, _)] = own.commands
    assert command[:4] == ["docker", "buildx", "bake", "--load"]
    file = Path(next(word for word in command if word.startswith("--file=")).removeprefix("--file="))
    assert len(json.loads(file.read_text())["target"]) == 2
