"""Whoever works in the image, on whatever is mounted: caches take files, programs are found, git works."""

import base64
import json
import shlex
from typing import Any

import pytest

from tests.image.conftest import PATIENT, PROGRAMS, Engine
from tests.image.test_use import wheel

CACHES = ["python", "-c", (PROGRAMS / "caches.py").read_text()]
CACHES_OF_MANY = ["huggingface", "matplotlib", "pip", "torch", "uv", "vllm", "wandb"]
VOLUMES = [
    *(f"/home/dev/.cache/{name}" for name in CACHES_OF_MANY), "/home/dev/.config", "/home/dev/.ipython",
    "/home/dev/.jupyter", "/home/dev/.local/bin", "/home/dev/.local/share", "/home/dev/.nv", "/home/dev/.ssh",
    "/home/dev/.triton", "/home/dev/.vscode-server", "/workspace",
]  # fmt: skip
"""Where people mount volumes: the engine makes a new one the owner's of the folder that is there, or root's."""
CLOSED = {"volumes": ["/home/dev/.cache/other"]}
"""A place that the image does not have: the engine makes it root's."""
USERS = ["1000", "1000:1000", "12345:0", "12345:12345", "0:0"]
ON_ROOTS_PATH = ["/usr/local/sbin", "/usr/local/bin", "/home/dev/.local/bin"]
"""Folders of PATH that dev may write, in this order: README.md says what follows."""


def program(name: str) -> str:
    """Lines of a shell that make /tmp/NAME-1.0-py3-none-any.whl, which has a program of that name."""
    script = {f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n"}
    made = base64.b64encode(wheel(name, "1.0", {f"{name}.py": "def main():\n    print('runs')\n", **script})).decode()
    return f"echo {made} | base64 -d > /tmp/{name}-1.0-py3-none-any.whl"


def shell(engine: Engine, image: str, script: str, **options: Any) -> str:
    """What a script that must succeed says in a container of its own, through the entry point."""
    status, output = engine.run(image, ["bash", "-ec", script], **options)
    assert status == 0, output
    return output


@pytest.mark.parametrize("places", [VOLUMES, ["/home/dev/.cache", "/home/dev/.local"], ["/home/dev"]])
def test_a_new_volume_takes_files(engine: Engine, image: str, places: "list[str]") -> None:
    """The user can write to volumes at the usual places in HOME, and at the workspace."""
    script = f"for place in {' '.join(places)}; do touch $place/x; done; echo $HOME"
    assert shell(engine, image, script, volumes=places) == "/home/dev\n"


def test_caches_work_after_root_has_worked(engine: Engine, image: str) -> None:
    """`docker exec -u 0` has its own HOME, and leaves nothing in dev's HOME that dev can't write."""
    with engine.container(image) as container:
        for user, home in (("0", "/root"), ("1000", "/home/dev")):
            status, output = container.exec_run(CACHES, user=user)
            assert status == 0, output.decode()
            found = json.loads(output.decode().splitlines()[-1])
            assert (found["refused"], found["folders"]["HOME"]) == ({}, home)
        assert container.exec_run(["find", "/home/dev", "-user", "0"]) == (0, b"")


def test_a_cache_that_belongs_to_root_is_left_alone(engine: Engine, image: str) -> None:
    """Caches are placed elsewhere; the entry point says so, and the doctor says what to do."""
    status, output = engine.run(image, CACHES, **CLOSED)
    assert status == 0, output
    assert json.loads(output.splitlines()[-1])["refused"] == {}
    assert "torchdev: /home/dev/.cache/other can't be written by uid 1000" in output
    script = "touch ~/.cache/other/x ~/.cache/torch/x; ls /home/dev/.cache/torch"
    assert shell(engine, image, script, **CLOSED).endswith("\nx\n")
    assert "chown -R 1000:0 /home/dev/.cache/other" in engine.run(image, PATIENT, **CLOSED)[1]


def test_a_mounted_cache_is_used_by_any_user(engine: Engine, image: str) -> None:
    """A user who can't write HOME gets another one, with the caches that are mounted in HOME."""
    mounts = {"/home/dev/.cache/huggingface": "mode=700,uid=12345", "/home/dev/.config": "mode=700,uid=12345"}
    script = f"touch ~/.cache/huggingface/x ~/.config/x ~/.cache/y; find {' '.join(mounts)} -name x"
    output = shell(engine, image, script, user="12345:12345", tmpfs=mounts)
    assert output.split() == [f"{folder}/x" for folder in mounts]


@pytest.mark.parametrize("user", USERS)
def test_programs_that_users_install_are_found(engine: Engine, image: str, user: str) -> None:
    """Programs that users install are found by name; users who can't write the image's packages get ~/.local."""
    script = f"""
        {program("one")}; {program("two")}; {program("three")}; {program("four")}
        pip install --quiet --no-index --no-warn-script-location /tmp/one-1.0-py3-none-any.whl > /tmp/said 2>&1; one
        pip install --quiet --no-index --no-warn-script-location --user /tmp/two-1.0-py3-none-any.whl; two
        uv tool install --quiet --offline --no-index /tmp/three-1.0-py3-none-any.whl; three
        uv pip install --quiet --offline --no-index /tmp/four-1.0-py3-none-any.whl; four
        uv pip uninstall --quiet four; if four; then exit 1; fi
        if uv pip install --offline --no-index torch==0.0.1; then exit 1; fi
    """
    assert shell(engine, image, script, user=user).split().count("runs") == 4


def test_what_dev_may_write_on_roots_path(engine: Engine, image: str, contract: dict[str, Any]) -> None:
    """On root's PATH, dev may write where pip installs programs, and in ~/.local/bin, which comes last."""
    path = contract["environment"]["PATH"].split(":")
    script = "for folder; do if [ -w $folder ]; then echo $folder; fi; done"
    output = shell(engine, image, f"set -- {shlex.join(path)}; {script}")
    assert [folder for folder in output.split() if "/cuda/" not in folder] == ON_ROOTS_PATH
    assert path[-1] == ON_ROOTS_PATH[-1]


@pytest.mark.parametrize("user", ["1000", "12345:12345", "0:0"])
def test_git_works_whoever_owns_the_folder(engine: Engine, image: str, user: str) -> None:
    """Git works in the workspace, in a folder of it, and by a path from there; ssh is installed."""
    commit = "git init -q . && git -c user.email=a@b.c -c user.name=a commit -q --allow-empty -m a"
    with engine.container(image, user="0") as container:
        for folder in ("/workspace", "/workspace/deep", "/srv/elsewhere"):
            made = f"mkdir -p {folder} && cd {folder} && {commit} && chown -R 4242:4242 {folder}"
            used = f"cd {folder} && git status --short && git clone -q . /tmp/{user}{folder}"
            for who, script in (("0", made), (user, used)):
                assert container.exec_run(["sh", "-c", script], user=who) == (0, b"")
        assert container.exec_run(["ssh", "-V"], user=user)[0] == (255 if user == "12345:12345" else 0)


def test_a_second_init_is_no_reason_to_warn(engine: Engine, image: str) -> None:
    """With `docker run --init`, or shared processes in a Pod, tini is not process 1, and reaps without a warning."""
    script = "sh -c 'sleep 0.1 &'; sleep 0.5; cat /proc/[0-9]*/status | grep -c 'State:.Z' || true"
    assert shell(engine, image, script, init=True) == "0\n"


def test_a_source_tree_with_an_old_setup_is_installed(engine: Engine, image: str) -> None:
    """A setup.py that imports torch is installed with --no-build-isolation, also editable."""
    script = """
        mkdir /tmp/p; cd /tmp/p; touch p.py
        printf 'import torch\\nfrom setuptools import setup\\nsetup(name="p", py_modules=["p"])\\n' > setup.py
        pip install --quiet --no-index --no-build-isolation --editable .; cd /; python -c 'import p; print(p.__file__)'
    """
    assert shell(engine, image, script, network_mode="none").splitlines()[-1] == "/tmp/p/p.py"
