"""The bench's own engine, network and registry, with images of a few bytes; skipped where it can't have them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest

from bench import __main__ as command
from bench import network as networks
from bench.bare import machine
from bench.cold import rewritten, stored
from bench.engine import Engine, Workspace, engine, restarted, settle
from bench.network import NAME, OUTSIDE, network
from bench.registry import ADDRESS, Registry, program, registry
from torchdev.util.errors import EngineError
from torchdev.wheels.host import Host

SIZE = 300_000
"""Bytes of a layer that nothing compresses."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Where a bench works; not while another one does, since it would end that one's engine."""
    with ExitStack() as stack:
        try:
            networks.need_tools()
            stack.enter_context(command.locked())
            found = stack.enter_context(network())
            settle()
        except EngineError as error:
            pytest.skip(f"{error.where} {error.what}".strip())
        folder = tmp_path_factory.mktemp("b")
        yield Workspace(folder, found, {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"})
    assert not Path("/run/netns", NAME).exists()
    assert not Path("/sys/class/net", OUTSIDE).exists()


@pytest.fixture
def target(workspace: Workspace) -> Iterator[Registry]:
    """A registry, if there is a program for one."""
    try:
        program(workspace)
    except EngineError as error:
        pytest.skip(error.what)
    with registry(workspace) as found:
        yield found


def build(own: Engine, tag: str, *names: str) -> None:
    """An image with a layer of each name; equal names make equal layers."""
    folder = own.workspace.fresh("context")
    for name in names:
        (folder / name).write_bytes(Random(name).randbytes(SIZE))
        os.utime(folder / name, (0, 0))
    (folder / "Dockerfile").write_text("FROM scratch\n" + "".join(f"COPY {name} /\n" for name in names))
    own.docker("buildx", "build", "--load", "--provenance=false", f"--tag={tag}", str(folder))


@pytest.mark.full
def test_an_engine_of_its_own_counts_layers_once(workspace: Workspace) -> None:
    """Two images that begin alike share what they have in common; nothing is left of the engine."""
    with engine(workspace, "one", None) as own:
        assert own.docker("images", "--quiet") == ""
        for tag, names in {"first": ("base", "left"), "second": ("base", "right")}.items():
            build(own, f"bench:{tag}", *names)
        first, second = own.layers("bench:first"), own.layers("bench:second")
        assert [len(first), len(second), len(first.keys() & second.keys())] == [2, 2, 1]
        assert sum(first.values()) == own.size("bench:first")
        assert stored([first, second]) == pytest.approx(3 * SIZE, rel=0.01)
        assert rewritten([first], [second]) == pytest.approx(SIZE, rel=0.01)
        folder, process = own.data.parent, own.process
    assert not folder.exists()
    assert process.poll() is not None


@pytest.mark.full
def test_what_comes_from_elsewhere_is_counted(workspace: Workspace, target: Registry) -> None:
    """The loopback is not elsewhere: what a registry there sends is in its log instead, each layer once."""
    with engine(workspace, "two", None) as own:
        for tag, names in {"first": ("base", "left"), "second": ("base", "right")}.items():
            name = f"{ADDRESS}/bench:{tag}"
            build(own, name, *names)
            own.docker("push", "--quiet", name)
        before = workspace.network.received()
        with restarted(own, "three") as other:
            assert other.docker("images", "--quiet") == ""
            served = []
            for tag in ("first", "second"):
                other.docker("pull", "--quiet", f"{ADDRESS}/bench:{tag}")
                served.append(target.served())
        assert served[1] - served[0] < served[0]
        assert served[1] < target.stored() * 1.1
        assert workspace.network.received() - before < 100_000


LOOK = """\
echo "$$ $(id -u) $1"
ls -d /proc/[0-9]* | wc -l
test ! -e "$2"
cat "$3"
echo written > /root/written
sleep 86391 &
ls /run | wc -l
"""
"""Says who it is, how many processes there are, that a file of this machine is not there; leaves one running."""


def runs(*command: str) -> bool:
    """Whether a command runs on this machine."""
    wanted = "".join(f"{word}\0" for word in command).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False


@pytest.mark.full
def test_a_machine_with_nothing_sees_nothing_of_this_one(workspace: Workspace, tmp_path: Path) -> None:
    """A root of its own, its own processes, a network; what was brought to it is there, and all that it began ends."""
    (tmp_path / "note").write_text("brought\n")
    try:
        with machine(workspace, Host(), "bare") as bare:
            done = bare.run(LOOK, "word", str(tmp_path), bare.bring(tmp_path / "note"))
            assert (bare.root / "root" / "written").read_text() == "written\n"
    except EngineError as error:
        pytest.skip(f"{error.where} {error.what}".strip())
    who, processes, note, left = done.output.splitlines()
    assert (who, note) == ("1 0 word", "brought")
    assert int(processes) <= 4
    assert left == "0"
    assert not runs("sleep", "86391")
    assert not bare.root.parent.exists()
