"""torchdev-doctor is right in staged situations: each breaks one thing, and what it says changes in that alone."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from docker.models.containers import Container

from torchdev.engine.client import Engine
from torchdev.image.contract import PACKAGES
from torchdev.image.contract import SITE_PACKAGES as SITE
from torchdev.image.plan import Plan

Levels = dict[str, str]
FAKE = "/tmp/fake"
FAKE_DRIVER = Path(__file__).parent / "fake_cuda.c"
HEALTHY: Levels = {
    "gpu": "can't", "shm": "ok", "user": "ok", "home": "ok", "compiler": "ok", "machine": "ok", "network": "can't",
    "packages": "ok", "guard": "ok", "files": "ok",
}  # fmt: skip
"""What is found where nothing is wrong but that there is neither a GPU nor a network. The gravest by subject."""
GRAVEST = ("fault", "can't", "note", "ok")


class Situation(NamedTuple):
    """What is done to a container, how it is started, who asks; the levels that change, and words that are said."""

    name: str
    changed: Levels
    said: str
    script: str = "true"
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to
    user: str = ""
    variables: dict[str, str] = {}  # noqa: RUF012
    before: str = ""


SITUATIONS = (
    Situation("as it should be", {}, "no NVIDIA driver can be seen"),
    Situation("little shared memory", {"shm": "can't"}, "--shm-size", options={"shm_size": "64m"}),
    Situation(
        "a network without names", {}, "can't be resolved", options={"network_mode": "bridge", "dns": ["127.0.0.9"]}
    ),
    Situation(
        "a proxy that is not there", {}, "the proxy 127.0.0.1 does not answer",
        options={"network_mode": "bridge"}, variables={"HTTPS_PROXY": "http://127.0.0.1:9"},
    ),
    Situation("root", {"user": "can't"}, "belongs to root", user="0"),
    Situation("a user without a home", {"home": "fault", "folder": "can't"}, "torchdev-entrypoint", user="12345:12345"),
    Situation(
        "root's cache", {"home": "can't"}, "chown -R 1000:0 /home/dev/.cache/uv",
        "chown 0:0 /home/dev/.cache/uv && chmod 755 /home/dev/.cache/uv",
    ),
    Situation(
        "a read-only root",
        {"home": "fault", "folder": "can't", "temporary": "fault", "compiler": "can't"}, "--tmpfs /tmp",
        options={"read_only": True}, user="12345:12345", variables={"TMPDIR": "/nowhere"},
    ),
    Situation("a /tmp without exec", {"compiler": "fault"}, "--tmpfs /tmp:exec", options={"tmpfs": {"/tmp": "noexec"}}),
    Situation("no compiler", {"compiler": "fault"}, "apt-get install gcc", "rm /usr/bin/gcc"),
    Situation("half a C++", {"compiler": "fault"}, "cmath", "rm /usr/include/c++/*/cmath"),
    Situation("a share of the cores", {"machine": "can't"}, "OMP_NUM_THREADS=1", options={"nano_cpus": 900_000_000}),
    Situation("a folder that is gone", {"folder": "fault"}, "cd to one", before="mkdir x && cd x && rmdir ../x &&"),
    Situation(
        "another torch", {"packages": "fault", "files": "fault"}, "torch is 2.0.0, not",
        f"mv {PACKAGES}/torch-*.dist-info {PACKAGES}/torch-2.0.0.dist-info"
    ),
    Situation("two torches", {"packages": "fault"}, "torch is 2.0.0 and ", f"mkdir {PACKAGES}/torch-2.0.0.dist-info"),
    Situation(
        "CUDA of another version beside", {"packages": "note"}, "nvidia-cublas-cu12",
        f"mkdir {PACKAGES}/nvidia_cublas_cu12-12.1.dist-info",
    ),
    Situation(
        "a library of CUDA replaced", {"files": "fault"}, "nvidia/nccl/lib/libnccl.so.2",
        f"touch {SITE}/nvidia/nccl/lib/libnccl.so.2",
    ),
    Situation(
        "a module of PyTorch removed", {"files": "fault"}, "torch/hub.py", f"rm {SITE}/torch/hub.py",
    ),
    Situation(
        "NumPy replaced, a package more, a Debian package", {"packages": "note", "debian": "note"}, "numpy 1.0 (was ",
        f"cd {PACKAGES}; mv numpy-*.dist-info numpy-1.0.dist-info; mkdir more-1.0.dist-info; "
        "touch /var/lib/dpkg/status",
    ),
    Situation(
        "what PyTorch needs is too old", {"packages": "note", "needed": "fault"}, "PyTorch needs typing-extensions>=",
        f"mv {PACKAGES}/typing_extensions-*.dist-info {PACKAGES}/typing_extensions-4.5.0.dist-info",
    ),
    Situation(
        "what PyTorch needs was removed", {"packages": "note", "needed": "note"}, "sympy was removed; PyTorch goes on",
        f"rm -r {PACKAGES}/sympy {PACKAGES}/sympy-*.dist-info",
    ),
    Situation("pip without its bounds", {"guard": "fault"}, "pip would replace PyTorch", f"rm -r {SITE}/pip"),
    Situation(
        "bounds that are gone", {"guard": "fault"}, "pip would replace PyTorch; uv would replace PyTorch",
        ": > /usr/local/share/torchdev/constraints.txt",
    ),
    Situation(
        "uv may do anything", {"guard": "fault"}, "uv would replace PyTorch",
        "rm /usr/local/lib/python3*/EXTERNALLY-MANAGED",
    ),
    Situation(
        "another uv", {}, "pip and uv keep PyTorch as it is", "cp /usr/local/libexec/torchdev/uv /usr/local/bin/uv"
    ),
    Situation(
        "another order of folders", {"guard": "fault"}, "Python would import torch from",
        f"rm {PACKAGES}/zzz-torchdev.pth && mkdir {PACKAGES}/torch && touch {PACKAGES}/torch/__init__.py",
    ),
    Situation(
        "a RECORD by which installers remove", {"guard": "fault"}, "installers may remove torch-",
        f"for info in {PACKAGES}/torch-2*.dist-info; do touch $info/RECORD; done",
    ),
    Situation("unguarded", {"guard": "note"}, "taken away by torchdev-unguard", "torchdev-unguard"),
    Situation(
        "a project that asks for torch", {"project": "note"}, "uv sync and uv run install one of its own",
        """echo '[project]\ndependencies = ["torch>=2"]' > /workspace/pyproject.toml""",
    ),
    Situation(
        "an environment of uv sync", {"environment": "can't"}, "2.5.1+cpu, CUDA none",
        "mkdir -p .venv/lib/python3.11/site-packages/torch && cd .venv/lib/python3.11/site-packages/torch"
        """ && printf "__version__ = '2.5.1+cpu'\ncuda: Optional[str] = None\n" > version.py""",
    ),
    Situation("a module named torch", {"torch": "fault"}, "/workspace/torch.py before", "touch /workspace/torch.py"),
    Situation(
        "torch in the user's folder", {"torch": "fault"}, ".local/lib/python",
        "for p in 3.9 3.11 3.13 3.14; do mkdir -p /home/dev/.local/lib/python$p/site-packages/torch; "
        "touch /home/dev/.local/lib/python$p/site-packages/torch/__init__.py; done; "
        "chown -R 1000 /home/dev/.local",
    ),
    Situation(
        "a second cuDNN", {"libraries": "fault"}, "/opt/cudnn/libcudnn.so.9",
        "mkdir /opt/cudnn; touch /opt/cudnn/libcudnn.so.9",
        variables={"LD_LIBRARY_PATH": "/opt/cudnn"},
    ),
)  # fmt: skip
DRIVERS = (
    ("that serves", {}, {"gpu": "ok", "driver": "ok"}, "Fake GPU (sm_90, 80 GB): code for sm_90"),
    ("with a newer GPU of the family", {"FAKE_CAPABILITY": "89"}, {"gpu": "ok", "driver": "ok"}, "code for sm_86"),
    ("with a GPU that is too old", {"FAKE_CAPABILITY": "61"}, {"gpu": "fault", "driver": "ok"}, "explain --gpu 6.1"),
    (
        "that is too old", {"FAKE_VERSION": "12020", "FAKE_DRIVER": "535.104.05"}, {"driver": "fault", "gpu": "ok"},
        "explain --driver 535",
    ),
    ("of another version than the kernel's", {"FAKE_INIT": "803"}, {"gpu": "fault"}, "reboot the host"),
    ("of cuda-compat on a GPU for games", {"FAKE_INIT": "804"}, {"gpu": "fault"}, "cuda-compat"),
    ("that sees no device", {"FAKE_INIT": "100"}, {"gpu": "fault"}, "CUDA error 100"),
    ("whose devices are hidden", {"FAKE_INIT": "100", "CUDA_VISIBLE_DEVICES": ""}, {}, "CUDA_VISIBLE_DEVICES= hides"),
    ("that is a stub", {"FAKE_INIT": "34"}, {"gpu": "fault"}, "stub"),
    ("that waits for the fabric manager", {"FAKE_INIT": "802"}, {"gpu": "fault"}, "fabricmanager"),
    ("with an error nobody knows", {"FAKE_INIT": "777"}, {"gpu": "fault"}, "CUDA error 777"),
    ("that crashes", {"FAKE_CRASH": "1"}, {"gpu": "fault"}, "ended its process"),
    ("that hangs", {"FAKE_HANG": "1"}, {"gpu": "fault"}, "does not answer within"),
)  # fmt: skip


def doctor(
    container: Container, before: str = "", wait: int = 120, **options: Any
) -> "tuple[int, dict[str, Any], str]":
    """Its exit code, what --json says, and that as text. `before` is said by the same shell.

    It waits long for answers: a busy machine is not what is staged here.
    """
    command = f"{before} torchdev-doctor --json --wait {wait}"
    status, output = container.exec_run(["sh", "-c", command], demux=True, **options)
    text = (output[0] or b"").decode()
    assert text, output
    return status, json.loads(text), text


def levels(said: dict[str, Any]) -> Levels:
    """The gravest level of each subject."""
    found: Levels = {}
    for finding in said["findings"]:
        known = found.get(finding["subject"], "ok")
        found[finding["subject"]] = min(known, finding["level"], key=GRAVEST.index)
    return found


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_doctor_sees_what_is_staged(engine: Engine, plan: Plan, situation: Situation) -> None:
    """Only what was changed is told otherwise; a fault is told by the exit code, too."""
    options = {"network_mode": "none", **situation.options}
    with engine.container(plan.tags[0], **options) as container:
        status, output = container.exec_run(["sh", "-c", situation.script], user="0")
        assert status == 0, output
        status, said, text = doctor(container, situation.before, user=situation.user, environment=situation.variables)
    assert levels(said) == HEALTHY | situation.changed, text
    assert situation.said in text
    assert status == int("fault" in levels(said).values())


@pytest.fixture(scope="module")
def driven(engine: Engine, plan: Plan) -> Iterator[Container]:
    """A container with libraries that stand for the driver's."""
    source = base64.b64encode(FAKE_DRIVER.read_bytes()).decode()
    script = f"mkdir {FAKE} && echo {source} | base64 -d > {FAKE}/fake.c && cd {FAKE} && "
    script += "gcc -shared -fPIC -o libcuda.so.1 fake.c && cp libcuda.so.1 libnvidia-ml.so.1"
    with engine.container(plan.tags[0], network_mode="none") as container:
        status, output = container.exec_run(["sh", "-c", script])
        assert status == 0, output
        yield container


@pytest.mark.parametrize(("name", "answers", "changed", "said"), DRIVERS, ids=[driver[0] for driver in DRIVERS])
def test_doctor_understands_the_driver(
    driven: Container, name: str, answers: dict[str, str], changed: Levels, said: str
) -> None:
    """Each answer of a driver, and none at all, is told with its remedy."""
    status, found, text = doctor(driven, wait=15, environment={"LD_LIBRARY_PATH": FAKE, **answers})
    assert levels(found) == HEALTHY | changed, text
    assert said in text
    assert status == int("fault" in levels(found).values())


def test_a_required_gpu_that_is_not_there_is_a_fault(engine: Engine, plan: Plan) -> None:
    """For jobs that must not start without one."""
    for option, status in (("auto", 0), ("require", 1)):
        assert engine.run(plan.tags[0], ["torchdev-doctor", "--gpu", option], network_mode="none")[0] == status


def test_doctor_leaves_torch_alone(engine: Engine, plan: Plan) -> None:
    """With the network that there is, and although nothing of torch can be imported."""
    with engine.container(plan.tags[0]) as container:
        status, output = container.exec_run(["sh", "-c", f"rm {SITE}/torch/__init__.py"], user="0")
        assert status == 0, output
        _, said, text = doctor(container)
    assert levels(said)["packages"] == "ok", text
    assert levels(said)["files"] == "fault", text


@pytest.mark.full
def test_full_examination_uses_torch(engine: Engine, plan: Plan) -> None:
    """It computes, compiles and finds the one file that was edited; a torch that can't be imported is a fault."""
    with engine.container(plan.tags[0], network_mode="none") as container:
        container.exec_run(["sh", "-c", f"echo >> {PACKAGES}/numpy/version.py"], user="0")
        status, output = container.exec_run(["torchdev-doctor", "--full"])
        text = output.decode()
        assert status == 0, text
        for words in (
            "the CPU multiplies and convolves",
            "torch.compile works on cpu",
            "were edited: ",
            "numpy/version.py",
        ):
            assert words in text
        container.exec_run(["sh", "-c", f"echo 'raise OSError(7)' >> {SITE}/torch/__init__.py"], user="0")
        status, output = container.exec_run(["torchdev-doctor", "--full"])
    assert status == 1
    assert "fault  torch" in output.decode()
