"""torchdev-doctor, which every image has. tests/engine/test_doctor.py stages what can go wrong."""

import json
import time

from testinfra.host import Host

from tests.image.conftest import Engine, Gpu

QUIET = {"network"}
"""What depends on the place where a container runs, and not on the image."""


def test_doctor_finds_no_fault(engine: Engine, image: str, gpu: Gpu) -> None:
    """In a container as the image makes it, every subject but GPU, shared memory and network is in order; in 3 s."""
    with engine.container(image, gpus=gpu.present) as container:
        began = time.monotonic()
        status, output = container.exec_run(["torchdev-doctor", "--json"])
        seconds = time.monotonic() - began
    found = {one["subject"]: one["level"] for one in json.loads(output)["findings"]}
    assert status == 0, output.decode()
    assert {name for name, level in found.items() if level != "ok"} - QUIET == (
        {"gpu"} - ({"gpu"} if gpu.present else set())
    )
    assert {"packages", "guard", "files", "compiler", "home", "shm"} <= found.keys()
    assert seconds < 3


def test_doctor_finds_every_file_as_it_was(engine: Engine, image: str) -> None:
    """Nothing was touched since the build, so there is nothing to say of installed files."""
    output = engine.run(image, ["torchdev-doctor", "--full", "--json"])[1]
    found = [one for one in json.loads(output)["findings"] if one["subject"] == "files"]
    assert {one["level"] for one in found} == {"ok"}, found


def test_doctor_runs_as_anyone(engine: Engine, image: str) -> None:
    """On a read-only root, under a user id that nobody knows, without a network; an entry point has made a HOME."""
    options = {
        "read_only": True,
        "network_mode": "none",
        "tmpfs": {"/tmp": "exec"},
        "user": "12345:0",
        "shm_size": "1g",
    }
    status, output = engine.run(image, ["torchdev-doctor"], **options)
    assert status == 0, output
    assert "HOME" not in output or "can't be written" not in output.partition("HOME")[2]


def test_doctor_names_the_cell(host: Host, contract: dict[str, object]) -> None:
    """Its first line is what the tag says, its second what the image runs on."""
    lines = host.check_output("torchdev-doctor || true").splitlines()
    assert lines[0].startswith(f"{contract['cell']}: ")
    assert lines[1] == contract["support"]
