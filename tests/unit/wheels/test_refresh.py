"""The catalog's refresh: what it reads, and that an index which lies, truncates, redirects or stops changes nothing."""

import re
from collections.abc import Iterator

import pytest

from tests.unit.fake_index import FakeIndex, make_wheel, serving
from torchdev.catalog import builds
from torchdev.catalog.builds import Catalog
from torchdev.util.errors import BuildError
from torchdev.wheels import refresh
from torchdev.wheels.host import Host

CUDNN = 'nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"'
NCCL = 'nvidia-nccl-cu13==2.29.7; platform_system == "Linux" and platform_machine == "x86_64"'
FLAGS = "sm_75 sm_80 sm_90 compute_90"
EMPTY = Catalog((), {}, {})
OLDER = "torch-1.9.0-cp39-cp39-manylinux1_x86_64.whl"


def good_index() -> FakeIndex:
    """PyPI with one release, and a PyTorch index with another CUDA variant of it."""
    made = FakeIndex()
    for python in ("cp312", "cp313"):
        extra = ("setuptools",) if python == "cp312" else ()
        for machine, cuda in (("x86_64", "13.0"), ("aarch64", None)):
            content = make_wheel("torch", "2.13.0", ("filelock", CUDNN, NCCL, *extra), cuda=cuda, flags=FLAGS)
            made.put("simple/torch", f"torch-2.13.0-{python}-{python}-manylinux_2_28_{machine}.whl", content)
        flavoured = make_wheel("torch", "2.13.0+cu126", ("filelock",), cuda="12.6", flags="sm_50 sm_90")
        made.put("whl/cu126/torch", f"torch-2.13.0+cu126-{python}-{python}-manylinux_2_28_x86_64.whl", flavoured)
    made.put("simple/torch", OLDER, b"")
    made.put("simple/torch", "torch-2.13.0-cp313-none-macosx_14_0_arm64.whl", b"")
    vision = make_wheel("torchvision", "0.28.0", ("torch==2.13.0",), cuda="13.0")
    made.put("simple/torchvision", "torchvision-0.28.0-cp313-cp313-manylinux_2_28_x86_64.whl", vision)
    made.put("simple/torchaudio", "torchaudio-0.9.0-cp39-cp39-manylinux1_x86_64.whl", b"")
    for cuda in ("11", "12", "13"):
        file = f"nvidia_cudnn_cu{cuda}-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl"
        made.put(f"simple/nvidia-cudnn-cu{cuda}", file, b"")
    return made


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """Such an index, for a test to break."""
    with serving(good_index()) as made:
        yield made


@pytest.fixture(scope="module")
def before() -> Catalog:
    """The catalog after a first refresh, while nothing was broken."""
    with serving(good_index()) as made:
        return refreshed(made)


def refreshed(index: FakeIndex, old: Catalog = EMPTY, *, accept_removed: bool = False, pytorch: bool = True) -> Catalog:
    """The catalog after a refresh against the index."""
    pytorch_index = f"{index.url}/whl" if pytorch else "http://127.0.0.1:9/whl"
    host = Host(index=f"{index.url}/simple/", pytorch_index=pytorch_index)
    return refresh.refresh(old, host, ["cpu", "cu126"], lambda text: None, accept_removed=accept_removed)


def test_wheels_are_read_for_what_they_say(index: FakeIndex) -> None:
    """Flavour, pins, GPU architectures and glibc are the wheels' own; old releases and other systems are left out."""
    found = {(b.project, b.flavour, b.arch): b for b in refreshed(index).builds}
    cuda = found["torch", "cu130", "amd64"]
    assert (cuda.pythons, cuda.cudnn, cuda.nccl) == (("3.12", "3.13"), "9.20.0.48", "2.29.7")
    assert cuda.architectures == ("sm_75", "sm_80", "sm_90", "compute_90")
    assert (cuda.glibc, cuda.runs_from) == ("2.28", "2.28")
    assert cuda.requirements("3.12") == ("filelock", CUDNN, NCCL, "setuptools")
    assert cuda.requirements("3.13") == ("filelock", CUDNN, NCCL)
    assert found["torch", "cpu", "arm64"].nccl is None
    assert found["torch", "cu126", "amd64"].origin == builds.PYTORCH
    assert found["torchvision", "cu130", "amd64"].requires == ("torch==2.13.0",)
    assert len(found) == 4


def test_second_refresh_reads_no_wheel_and_changes_nothing(index: FakeIndex) -> None:
    """What is listed as before is not read again; the text is the same, byte for byte."""
    first = refreshed(index)
    index.fetched.clear()
    second = refreshed(index, first)
    assert not [path for path in index.fetched if path.startswith("files/")]
    assert builds.to_text(second) == builds.to_text(first)
    assert refresh.changes(first, second) == []


def test_text_and_catalog_are_the_same(index: FakeIndex) -> None:
    """What is written is what is read; a new wheel adds lines and changes none of the others but its build's."""
    found = refreshed(index)
    text = builds.to_text(found)
    assert builds.to_text(builds.from_text(text)) == text
    content = make_wheel("torch", "2.14.0", ("filelock",), cuda="13.0", flags=FLAGS)
    index.put("simple/torch", "torch-2.14.0-cp313-cp313-manylinux_2_28_x86_64.whl", content)
    later = refreshed(index, found)
    assert set(text.splitlines()) - set(builds.to_text(later).splitlines()) == set()
    assert refresh.changes(found, later) == ["+ torch 2.14.0 cu130 amd64 (pypi): Python 3.13"]


def test_silent_pytorch_index_keeps_what_was_known(index: FakeIndex) -> None:
    """Where it can't be reached at all its facts keep their dates."""
    first = refreshed(index)
    second = refreshed(index, first, pytorch=False)
    assert builds.to_text(second) == builds.to_text(first)


CUDA_WHEEL = "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("path", "fault", "why"),
    [
        ("simple/torch", "stop", "does not answer"),
        ("simple/torch", "error", "500 Server Error"),
        ("simple/torch", "403", "an index refuses: "),
        ("simple/nvidia-cudnn-cu12", "503", "an index refuses: "),
        (f"files/simple/torch/{CUDA_WHEEL}", "403", ""),
        ("simple/torch", "truncate", "ends halfway"),
        ("simple/torch", "redirect", "another host"),
        ("simple/torchvision", "stop", "does not answer"),
        ("simple/nvidia-cudnn-cu12", "stop", "does not answer"),
        ("whl/cu126/torch", "stop", "does not answer"),
        ("whl/cu126/torch", "redirect", "another host"),
        (f"files/simple/torch/{CUDA_WHEEL}", "stop", "does not answer"),
        (f"files/simple/torch/{CUDA_WHEEL}", "truncate", ""),
        (f"files/simple/torch/{CUDA_WHEEL}", "other", "can't be read as a wheel"),
        ("simple/torch", "other", ""),
    ],
)
def test_broken_index_is_refused(index: FakeIndex, before: Catalog, path: str, fault: str, why: str) -> None:
    """Whatever breaks, wherever: nothing is taken over, and it says why; of a page, not that wheels may be gone."""
    old = Catalog(tuple(b for b in before.builds if b.project != "torch"), before.cudnn, before.sources)
    old = before if fault == "other" and path.startswith("simple") else old
    index.broken[path] = fault
    with pytest.raises(BuildError, match="the catalog is left as it was") as caught:
        refreshed(index, old)
    assert why in str(caught.value)
    assert fault == "other" or "--accept-removed" not in caught.value.next_step


def test_lies_are_refused(index: FakeIndex, before: Catalog) -> None:
    """A wheel that names itself differently, a page with files of others, another hash under a known name."""
    index.put("simple/torch", "torch-2.14.0-cp313-cp313-manylinux_2_28_x86_64.whl", make_wheel("torch", "2.13.0"))
    with pytest.raises(BuildError, match=r"says that it is torch 2\.13\.0"):
        refreshed(index)
    del index.pages["simple/torch"]["torch-2.14.0-cp313-cp313-manylinux_2_28_x86_64.whl"]
    index.put("simple/torch", "torchx-2.14.0-cp313-cp313-manylinux_2_28_x86_64.whl", b"")
    with pytest.raises(BuildError, match="which is of torchx"):
        refreshed(index)
    del index.pages["simple/torch"]["torchx-2.14.0-cp313-cp313-manylinux_2_28_x86_64.whl"]
    index.hashes[CUDA_WHEEL] = "ef" * 32
    with pytest.raises(BuildError, match="had sha256"):
        refreshed(index, before, accept_removed=True)


@pytest.mark.parametrize("other", ["2_28_x86_64.manylinux_2_31", "2_34"])
def test_another_name_for_a_known_wheel_is_no_way_round_its_hash(index: FakeIndex, before: Catalog, other: str) -> None:
    """Not even with --accept-removed; a wheel with the known content may have it."""
    content = index.pages["simple/torch"].pop(CUDA_WHEEL)
    name = CUDA_WHEEL.replace("manylinux_2_28", f"manylinux_{other}")
    index.put("simple/torch", name, make_wheel("torch", "2.13.0", ("filelock",), cuda="13.0", flags="sm_75"))
    with pytest.raises(BuildError, match=f"{re.escape(name)} is in its place now"):
        refreshed(index, before, accept_removed=True)
    index.put("simple/torch", name, content)
    assert refreshed(index, before, accept_removed=True)


def test_fewer_wheels_are_refused_unless_accepted(index: FakeIndex, before: Catalog) -> None:
    """A page that lists less than before is not believed; --accept-removed says that it is right."""
    del index.pages["simple/torch"][CUDA_WHEEL]
    with pytest.raises(BuildError, match="1 wheels are gone"):
        refreshed(index, before)
    after = refreshed(index, before, accept_removed=True)
    assert next(b for b in after.builds if b.flavour == "cu130").pythons == ("3.13",)


def test_wheels_of_one_build_must_agree_on_the_flavour(index: FakeIndex) -> None:
    """One wheel of another CUDA under the same version is a lie, too."""
    index.put("simple/torch", CUDA_WHEEL, make_wheel("torch", "2.13.0", cuda="12.6", flags=FLAGS))
    with pytest.raises(BuildError, match="of several CUDA variants"):
        refreshed(index)
