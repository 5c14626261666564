"""The image is what its contract says, field by field. `proves` names the fields that a check turns red for.

docs/checks.md lists them; tests/engine/test_contract.py changes each field and sees its check fail.
"""

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from packaging.version import Version
from testinfra.host import Host

from tests.image.conftest import Engine
from torchdev.catalog.facts import NOT_KNOWN
from torchdev.image.plan import Plan
from torchdev.image.slimming import LEFT_OUT, STRIPPED, rules
from torchdev.util.version import numbers, version

Contract = dict[str, Any]
OF_BUILDS = (
    "org.opencontainers.image.base.", "io.torchdev.base.", "io.torchdev.bootstrap.", "io.torchdev.inputs",
    "io.torchdev.layers", "io.torchdev.version",
)  # fmt: skip
"""Labels that a build adds: the bases an image was really built from, its inputs and layers, torchdev's version."""
FROM_BASE = "pip"
"""The one distribution that no lock names: the contract has it apart from them."""
BESIDE = {FROM_BASE, "uv"}
"""What is installed beside the packages of the lock."""


def matches(path: str, globs: list[str]) -> bool:
    """Whether a path below site-packages is one of those that a contract names; * stops at a slash."""
    return any(PurePosixPath(path).match(glob) for glob in globs)


def installed(facts: dict[str, Any], start: str) -> list[str]:
    """Versions of the installed distributions whose name begins so."""
    return [version for name, version in facts["distributions"] if name.startswith(start)]


@pytest.fixture(scope="session")
def shell(host: Host) -> dict[str, Any]:
    """What a shell tells of Python, of the user that containers run as (by the contract's names), of the contract."""
    entry = host.check_output("getent passwd $(id -u)").split(":")
    groups = [int(group) for group in host.check_output("id -G").split()]
    return {
        "python3": host.check_output("command -v python3"),
        "user": {"name": entry[0], "uid": int(entry[2]), "gid": int(entry[3]), "groups": groups, "home": entry[5]},
        "writable": {folder for folder in (entry[5], host.check_output("pwd")) if not host.run(f"test -w {folder}").rc},
        "contract": host.run("cat /usr/local/share/torchdev/contract.json").stdout,
        "source": host.run("cat /usr/local/share/torchdev/python-source").stdout,
    }


@pytest.fixture(scope="session")
def unpacked(engine: Engine, image: str) -> int:
    """Bytes of all layers."""
    return sum(int(entry["Size"]) for entry in engine.history(image))


@pytest.mark.proves("schema")
def test_contract_has_the_known_form(contract: Contract) -> None:
    """These checks understand form 1."""
    assert contract["schema"] == 1


@pytest.mark.proves("cell")
def test_image_is_of_the_cell(contract: Contract, config: dict[str, Any]) -> None:
    """The image's label names the cell."""
    assert config["Labels"]["io.torchdev.cell"] == contract["cell"]


@pytest.mark.proves("python.series")
def test_python_is_of_the_series(contract: Contract, facts: dict[str, Any]) -> None:
    """`python` is the Python that the tag names."""
    assert ".".join(facts["python"].split(".")[:2]) == contract["python"]["series"]


@pytest.mark.proves("python.executable")
def test_python_is_where_it_must_be(contract: Contract, shell: dict[str, Any]) -> None:
    """The first python3 on PATH is the contract's."""
    assert shell["python3"] == contract["python"]["executable"]


@pytest.mark.proves("python.site_packages")
def test_packages_lie_where_they_must(contract: Contract, facts: dict[str, Any]) -> None:
    """Torch was imported from the contract's folder."""
    assert facts["site_packages"] == contract["python"]["site_packages"]


@pytest.mark.proves("python.pip")
def test_pip_is_the_locked_one(contract: Contract, facts: dict[str, Any]) -> None:
    """The image has the contract's pip, whatever pip the Python base has."""
    assert installed(facts, FROM_BASE) == [contract["python"]["pip"]]


@pytest.mark.proves("python.source")
def test_source_of_python_is_told(contract: Contract, config: dict[str, Any], shell: dict[str, Any]) -> None:
    """If the base was compiled here, file and label name the source version, and a notice another that Debian named."""
    place, labels = contract["python"]["source"], config["Labels"]
    assert place == "/usr/local/share/torchdev/python-source"
    taken, notice = (labels.get(f"io.torchdev.base.python.source{end}") for end in ("", ".notice"))
    told = dict(line.partition(" ")[::2] for line in shell["source"].splitlines())
    assert told.get("taken") == taken
    assert bool(notice) == (told.get("named") != taken or bool(told.get("unread")))
    assert not notice or (str(told["named"]) in notice and all(suite in notice for suite in told["unread"].split()))


@pytest.mark.proves("torch.distribution")
def test_torch_distribution_is_the_locked_one(contract: Contract, facts: dict[str, Any]) -> None:
    """One distribution of torch is installed, of the locked version."""
    found = [version for name, version in facts["distributions"] if name == "torch"]
    assert found == [contract["torch"]["distribution"]]


@pytest.mark.proves("torch.version")
def test_torch_says_its_version(contract: Contract, facts: dict[str, Any]) -> None:
    """torch.__version__ names version and CUDA variant."""
    assert facts["torch"] == contract["torch"]["version"]


@pytest.mark.proves("torch.cuda")
def test_torch_is_for_the_cuda(contract: Contract, facts: dict[str, Any]) -> None:
    """torch.version.cuda is the CUDA of the tag, or None."""
    assert facts["cuda"] == contract["torch"]["cuda"]


@pytest.mark.proves("torch.cudnn")
def test_cudnn_is_the_one_loaded(contract: Contract, facts: dict[str, Any]) -> None:
    """The loaded cuDNN (91002 is 9.10.2, 8902 is 8.9.2), and its wheel if it has one, have the contract's version."""
    expected = contract["torch"]["cudnn"]
    if expected is None:
        assert (facts["cudnn"] is None) == (facts["cuda"] is None)
        if facts["cuda"]:
            pytest.skip("a cuDNN is loaded; neither lock nor catalog says which is inside this PyTorch's wheel")
        return
    major, minor, patch = Version(expected).release[:3]
    assert facts["cudnn"] == major * (10_000 if major >= 9 else 1000) + minor * 100 + patch
    assert installed(facts, "nvidia-cudnn-") in ([], [expected])


@pytest.mark.proves("torch.nccl")
def test_nccl_is_the_one_linked(contract: Contract, facts: dict[str, Any]) -> None:
    """torch.cuda.nccl.version(), which needs no GPU, and NCCL's wheel have the contract's version."""
    expected = contract["torch"]["nccl"]
    if expected is None and facts["cuda"]:
        assert facts["nccl"]
        pytest.skip(f"neither lock nor catalog says which NCCL is inside this PyTorch's wheel; it is {facts['nccl']}")
    assert facts["nccl"] == (expected and ".".join(map(str, Version(expected).release[:3])))
    assert installed(facts, "nvidia-nccl-") in ([], [expected])


@pytest.mark.proves("torch.architectures")
def test_architectures_are_those_of_the_catalog(contract: Contract, facts: dict[str, Any]) -> None:
    """The library lists the GPU architectures of the contract."""
    expected = contract["torch"]["architectures"]
    if not expected and facts["cuda"]:
        assert facts["architectures"]
        pytest.skip("the catalog does not know what this PyTorch is compiled for")
    assert facts["architectures"] == expected


@pytest.mark.proves("torch.minimum_driver")
def test_label_names_the_driver(plan: Plan, contract: Contract, config: dict[str, Any]) -> None:
    """The label names the oldest driver that serves this CUDA, if that is known."""
    unknown = NOT_KNOWN if plan.cell.cuda else "none"
    assert config["Labels"].get("io.torchdev.driver") == (contract["torch"]["minimum_driver"] or unknown)


@pytest.mark.proves("torch.glibc")
def test_glibc_is_new_enough(contract: Contract, facts: dict[str, Any]) -> None:
    """Torch's libraries and wheel need the glibc of the contract, and the image's glibc is not older."""
    expected = contract["torch"]["glibc"]
    if expected is None:
        pytest.skip("the catalog does not know which glibc this PyTorch needs")
    assert facts["needs_glibc"] == expected
    assert Version(facts["has_glibc"]) >= Version(expected)


@pytest.mark.proves("packages")
def test_every_locked_package_is_installed_and_no_other(contract: Contract, facts: dict[str, Any]) -> None:
    """Each locked package is installed once, in its version; besides them only pip and uv are."""
    from_base = BESIDE - contract["packages"].keys()
    found = [[name, version] for name, version in facts["distributions"] if name not in from_base]
    assert sorted(found) == sorted([name, version] for name, version in contract["packages"].items())


@pytest.mark.proves("left_out")
def test_what_nothing_loads_is_left_out(facts: dict[str, Any], contract: Contract) -> None:
    """Files that docs/slimming.md excludes are absent, and all others in RECORDs are present."""
    globs, paths = contract["left_out"], facts["recorded"]
    assert set(globs) <= {path for rule in rules() if rule.how == LEFT_OUT for path in rule.paths}
    own = [path for path in paths["absent"] if not path.startswith((f"{FROM_BASE}/", f"{FROM_BASE}-"))]
    assert [path for path in own if not matches(path, globs)] == []
    assert [path for path in paths["there"] if matches(path, globs)] == []


@pytest.mark.proves("stripped")
def test_libraries_are_stripped(facts: dict[str, Any], contract: Contract) -> None:
    """Libraries named in docs/slimming.md have no symbol table and no debug information, unless the cell keeps them."""
    globs, known = contract["stripped"], [path for rule in rules() if rule.how == STRIPPED for path in rule.paths]
    assert set(globs) <= set(known)
    assert [glob for glob in globs if not any(matches(path, [glob]) for path in facts["symbols"])] == []
    concerned = {path: has for path, has in facts["symbols"].items() if matches(path, known)}
    assert concerned == {path: not matches(path, globs) for path in concerned}


@pytest.mark.proves("user.name", "user.uid")
def test_user_is_the_one_of_the_contract(contract: Contract, shell: dict[str, Any]) -> None:
    """Without any option, a container runs as that user."""
    user = shell["user"]
    assert [user["name"], user["uid"]] == [contract["user"]["name"], contract["user"]["uid"]]


@pytest.mark.proves("user.gid", "user.groups")
def test_group_0_is_a_supplementary_one(contract: Contract, shell: dict[str, Any]) -> None:
    """The user's own group is the primary one: dev containers rewrite that, and group 0 would be root's."""
    user = shell["user"]
    assert [user["gid"], user["groups"]] == [contract["user"]["gid"], contract["user"]["groups"]]


@pytest.mark.proves("user.home")
def test_home_is_the_users(contract: Contract, shell: dict[str, Any]) -> None:
    """HOME is the folder in passwd, and the user may write there."""
    assert shell["user"]["home"] == contract["user"]["home"]
    assert shell["user"]["home"] in shell["writable"]


@pytest.mark.proves("environment")
def test_environment_is_that_and_no_other(contract: Contract, config: dict[str, Any]) -> None:
    """The image sets the contract's variables and no others."""
    assert dict(entry.split("=", 1) for entry in config["Env"]) == contract["environment"]


@pytest.mark.proves("labels")
def test_labels_say_what_is_inside(contract: Contract, config: dict[str, Any]) -> None:
    """Labels are those of the contract and no others, except those that a build adds."""
    found = {key: value for key, value in config["Labels"].items() if not key.startswith(OF_BUILDS)}
    assert found == contract["labels"]


def test_label_names_the_torchdev_that_built_the_image(config: dict[str, Any]) -> None:
    """The label is a version of torchdev; not-run if it is newer than the one that checks, or if there is no label."""
    label = config["Labels"].get("io.torchdev.version")
    if label is None:
        pytest.skip("built before images named torchdev's version; build --rebuild adds it")
    assert numbers(label), label
    if numbers(label) > numbers(version()):
        pytest.skip(f"built by torchdev {label}, which is newer than {version()}")


@pytest.mark.proves("entrypoint")
def test_entrypoint_is_tini(contract: Contract, config: dict[str, Any]) -> None:
    """The entry point is tini, which reaps, and a script that gives a HOME to users without one."""
    assert config["Entrypoint"] == contract["entrypoint"]


@pytest.mark.proves("cmd")
def test_command_is_a_shell(contract: Contract, config: dict[str, Any]) -> None:
    """The default command is a shell."""
    assert config["Cmd"] == contract["cmd"]


@pytest.mark.proves("workdir")
def test_work_is_done_in_the_workdir(contract: Contract, config: dict[str, Any], shell: dict[str, Any]) -> None:
    """The working folder exists, and the user may write in it."""
    assert config["WorkingDir"] == contract["workdir"]
    assert config["WorkingDir"] in shell["writable"]


@pytest.mark.proves("size_limit")
def test_image_is_no_larger_than_it_may_be(contract: Contract, unpacked: int) -> None:
    """The unpacked layers are within the limit: a second CUDA, a cache or a layer of moved files would exceed it."""
    if contract["size_limit"] is None:
        pytest.skip("the lock does not say what each wheel unpacks to")
    assert unpacked <= contract["size_limit"]


@pytest.mark.proves("support")
def test_support_statement_is_true(contract: Contract, facts: dict[str, Any], config: dict[str, Any]) -> None:
    """The statement spans the library's first to last architecture, and names the driver of the label."""
    driver = config["Labels"].get("io.torchdev.driver")
    if not facts["cuda"]:
        expected = "no GPU: CPU only"
    else:
        first, last = facts["architectures"][0], facts["architectures"][-1]
        newest = f"sm_{last[8:]} and newer" if last.startswith("compute_") else last
        unknown = config["Labels"].get("io.torchdev.gpus") == "not known"
        needs = f"driver {driver}" if driver == "not known yet" else f"driver {driver} or newer"
        expected = f"GPUs {'not known' if unknown else f'{first} to {newest}'}, {needs}"
    assert contract["support"] == expected


def test_contract_is_in_the_image(contract: Contract, shell: dict[str, Any]) -> None:
    """The image has a copy of its contract, for programs that run there."""
    assert json.loads(shell["contract"] or "null") == contract
