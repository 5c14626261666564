"""torchdev-doctor, which every image has. tests/engine/test_doctor.py stages what can go wrong."""

import json

from testinfra.host import Host

from tests.image.conftest import PATIENT, Engine, Gpu

TIMED = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime); "
    "sys.stdout.flush(); sys.stdout.buffer.write(done.stdout); sys.exit(done.returncode)"
)
"""Seconds of processor time of a command, above what it prints."""
QUIET = {"network"}
"""What depends on the place where a container runs, and not on the image."""


def test_doctor_finds_no_fault(engine: Engine, image: str, gpu: Gpu) -> None:
    """In a new container, every subject but GPU, shared memory and network is in order.

    The doctor takes at most 3 seconds of processor time, which other programs hardly change.
    """
    with engine.container(image, gpus=gpu.present) as container:
        status, output = container.exec_run(["python", "-c", TIMED, *PATIENT, "--json"])
    seconds, _, said = output.decode().partition("\n")
    found = {one["subject"]: one["level"] for one in json.loads(said)["findings"]}
    assert status == 0, output.decode()
    assert {name for name, level in found.items() if level != "ok"} - QUIET == (
        {"gpu"} - ({"gpu"} if gpu.present else set())
    )
    assert {"packages", "guard", "files", "compiler", "home", "shm"} <= found.keys()
    assert float(seconds) < 3


def test_doctor_finds_every_file_as_it_was(engine: Engine, image: str) -> None:
    """The doctor finds no installed file changed since the build."""
    # It would try torch.compile, too, which another check does.
    output = engine.run(image, [*PATIENT, "--full", "--json"], environment={"TORCH_COMPILE_DISABLE": "1"})[1]
    found = [one for one in json.loads(output)["findings"] if one["subject"] == "files"]
    assert {one["level"] for one in found} == {"ok"}, found


def test_doctor_runs_as_anyone(engine: Engine, image: str) -> None:
    """The doctor runs on a read-only root, as an unknown user, without a network, in a HOME made by the entry point."""
    options = {
        "read_only": True,
        "network_mode": "none",
        "tmpfs": {"/tmp": "exec"},
        "user": "12345:0",
        "shm_size": "1g",
    }
    status, output = engine.run(image, PATIENT, **options)
    assert status == 0, output
    assert "HOME" not in output or "can't be written" not in output.partition("HOME")[2]


def test_doctor_names_the_cell(host: Host, contract: dict[str, object]) -> None:
    """The doctor's first line names the cell, its second the GPUs and drivers that the image supports."""
    lines = host.check_output("torchdev-doctor || true").splitlines()
    assert lines[0].startswith(f"{contract['cell']}: ")
    assert lines[1] == contract["support"]
