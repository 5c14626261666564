"""What the PyTorch index answers, or does not, is told as it is: silence, a wrong answer, a page that lists others."""

import dataclasses
import html
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.fake_index import FakeIndex, serving
from tests.unit.wheels import test_remote
from torchdev.matrix.load import Cell
from torchdev.util.errors import BuildError, Exit
from torchdev.util.positions import Position
from torchdev.wheels import pytorch, resolve
from torchdev.wheels.host import Host
from torchdev.wheels.lock import Lock
from torchdev.wheels.remote import Silent, Untrue

GOOD = "torch-2.7.1+cu118-cp39-cp39-manylinux_2_28_x86_64.whl"
STATUSES = [401, 403, 418, 429, 500, 502, 503]
WRONG = [fault for fault, (_, kind) in test_remote.BAD.items() if kind is Untrue]


@pytest.fixture
def cell() -> Cell:
    """A cell whose CUDA variant is only on the PyTorch index."""
    return Cell(
        python="3.9",
        flavour="cu118",
        torch="2.7.1",
        requirements=("torch==2.7.1",),
        position=Position("matrix.yaml", 3, 5),
    )


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog has nothing of that CUDA variant."""
    monkeypatch.setattr(pytorch, "known_files", lambda flavour: {})
    monkeypatch.setattr(pytorch, "known_requirements", lambda *_: None)


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    """An index on loopback."""
    with serving(FakeIndex()) as made:
        yield made


def refused(cell: Cell, url: str) -> BuildError:
    """What resolving the cell comes to."""
    with pytest.raises(BuildError) as caught:
        resolve.resolve(cell, Host(pytorch_index=url))
    return caught.value


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_not_called_silence(cell: Cell, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error with the index's address, whether the catalog knows the wheels or not."""
    monkeypatch.setattr("torchdev.wheels.remote.LARGEST", 100_000)
    with test_remote.answering(test_remote.BAD[fault][0]) as url:
        error = refused(cell, url)
    assert error.code is Exit.BUILD
    assert error.where == cell.id
    assert error.what.startswith(f"{url}/cu118: ")
    assert "does not answer" not in error.what


def says(status: int) -> test_remote.Answer:
    """A server that answers everything with a status."""
    return test_remote.sends(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_named(cell: Cell, status: int) -> None:
    """As what came, where nothing is known that could stand in for the answer."""
    with test_remote.answering(says(status)) as url:
        error = refused(cell, url)
    assert "which refuses: " in error.what
    assert f"{status} " in error.what


@pytest.mark.parametrize("status", STATUSES)
def test_what_is_known_counts_where_the_index_refuses(cell: Cell, status: int) -> None:
    """As where it is silent: a status says nothing that is not true. It is told once, by name."""
    said: list[str] = []
    with test_remote.answering(says(status)) as url:
        asked = pytorch.Index(Host(pytorch_index=url), "cu118", pytorch.Asked(said.append))
        offers = [resolve._offered("torch", cell, asked) for _ in range(3)]
    assert [offer and (offer.file, offer.location) for offer in offers] == [(GOOD, None)] * 3
    assert len(said) == 1
    assert said[0].startswith(f"note: {url} refuses: ")
    assert f"{status} " in said[0]


def test_a_run_asks_for_each_page_once(index: FakeIndex) -> None:
    """However many cells want it, at once; a page that is refused or not there is remembered, too."""
    index.put("cu118/torch", GOOD, b"")
    index.broken["cu118/torchvision"] = "403"
    said: list[str] = []
    host, asked = Host(pytorch_index=index.url), pytorch.Asked(said.append)

    def look(_: int) -> "list[int]":
        found = pytorch.Index(host, "cu118", asked)
        return [len(found.wheels(project)) for project in ("torch", "torchvision", "torchaudio")]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(12))) == [[1, 0, 0]] * 12
    assert sorted(index.fetched) == ["cu118/torch", "cu118/torchaudio", "cu118/torchvision"]
    assert len(said) == 1


def test_a_run_asks_a_silent_index_once(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for every cell, CUDA variant and page: each would wait a minute. After a while it is asked again."""
    calls, said, now = [], list[str](), [1000.0]

    def silent(_: Host, address: "str | None", project: str) -> None:
        calls.append((address, project))
        raise Silent(f"{address}: timed out")

    monkeypatch.setattr(pytorch, "list_wheels", silent)
    monkeypatch.setattr(pytorch.time, "monotonic", lambda: now[0])
    host, asked = Host(pytorch_index="http://whl.example"), pytorch.Asked(said.append)
    for flavour in ("cu118", "cu130", "cpu"):
        found = pytorch.Index(host, flavour, asked)
        assert [found.wheels(project) for project in ("torch", "torchvision")] == [[], []]
        assert "timed out" in found.silence
    assert calls == [("http://whl.example/cu118", "torch")]
    assert said == ["note: http://whl.example does not answer: timed out; known hashes of its wheels are used instead"]
    now[0] += pytorch.SILENT_SECONDS + 1
    assert resolve._offered("torch", cell, pytorch.Index(host, "cu118", asked))
    assert len(calls) == 2


@pytest.mark.parametrize("fault", ["403", "404", "500", "stop"])
def test_a_known_wheel_need_not_be_read(cell: Cell, index: FakeIndex, fault: str) -> None:
    """Where the page answers and the machine with the files does not: its requirements are known, its sizes are not."""
    known = pytorch.known_files("cu118")[GOOD]
    index.put("cu118/torch", GOOD, b"")
    index.hashes[GOOD] = known
    index.broken[f"files/cu118/torch/{GOOD}"] = fault
    said: list[str] = []
    asked = pytorch.Index(Host(pytorch_index=index.url), "cu118", pytorch.Asked(said.append))
    offer = resolve._offered("torch", cell, asked)
    assert offer
    assert offer.location
    required = resolve._torch_requirements(offer, "2.7.1+cu118", cell, asked)
    assert any(text.startswith("nvidia-cublas-cu11") for text in required)
    package = resolve._package(offer, "torch", "2.7.1", cell, asked)
    assert (package.sha256, package.size, package.installed) == (known, None, None)
    assert len(said) == 1
    assert "can't be read" in said[0]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://localhost:1/x", "ftp://a/"])
def test_the_target_of_a_redirect_is_named(cell: Cell, target: str) -> None:
    """Nothing is fetched from there."""
    with test_remote.answering(test_remote.redirects(lambda path: target.encode())) as url:
        assert target in refused(cell, url).what


def test_a_silent_index_is_asked_once_and_what_is_known_counts(cell: Cell) -> None:
    """The wheel's known hash is offered, without a location."""
    asked = pytorch.Index(Host(pytorch_index="http://127.0.0.1:9"), "cu118")
    offer = resolve._offered("torch", cell, asked)
    assert offer
    assert offer.file == GOOD
    assert offer.location is None
    assert asked.silence


@pytest.mark.usefixtures("unknown")
def test_silence_is_told_with_its_reason(cell: Cell) -> None:
    """Nothing listens at that port."""
    error = refused(cell, "http://127.0.0.1:9")
    assert "does not answer at http://127.0.0.1:9: " in error.what
    assert "refused" in error.what


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("names", [(), ("torch-2.7.1.tar.gz",), (GOOD.replace("cp39", "cp310"),)])
def test_a_page_without_the_wheel_is_not_called_silence(cell: Cell, index: FakeIndex, names: "tuple[str, ...]") -> None:
    """Nor is one that is not there."""
    for name in names:
        index.put("cu118/torch", name, b"")
    assert "which does not list it for Python 3.9 on linux/amd64" in refused(cell, index.url).what


@pytest.mark.parametrize(
    "name",
    [
        GOOD.replace(".whl", ".$(id>&2).whl"),
        GOOD.replace(".whl", ".`id`.whl"),
        GOOD.replace("x86_64", "x86\n64"),
        GOOD.replace("x86_64", "x86\u202e64"),
        GOOD.replace("x86_64", "x" * 5000),
        GOOD.replace("x86_64", "x86_64?x=$(id)"),
        GOOD + "?x=$(id)",
        GOOD.replace(".whl", ".WHL"),
        "torch-2.7.1.tar.gz;id",
        "../torch-2.7.1.tar.gz",
        "-torch.zip",
    ],
)
def test_an_odd_name_is_named_and_not_passed_over(cell: Cell, index: FakeIndex, name: str) -> None:
    """Whatever kind of file it seems to be, and whatever else is listed."""
    link = f'<a href="/f/x.whl">{html.escape(name)}</a>'
    index.raw["cu118/torch"] = ("text/html", f"<html><body>{link}</body></html>".encode())
    error = refused(cell, index.url)
    assert "lists what no index has" in error.what
    assert name[:10].split("/")[0] in error.what
    assert error.what.isprintable()


def test_a_wrong_answer_while_a_lock_completes_itself(cell: Cell, lock: Lock, index: FakeIndex) -> None:
    """The build says what came, too."""
    index.broken["cu118/torch"] = "error"
    package = next(p for p in lock.packages if p.name == "torch")
    unknown = {"sha256": None, "size": None, "installed": None, "origin": "pytorch"}
    unresolved = dataclasses.replace(package, version="2.7.1+cu118", file=GOOD, **unknown)
    with pytest.raises(BuildError, match=r"refuses, .*500 Server Error.*cu118/torch/"):
        resolve.complete(type(lock)(**{**vars(lock), "packages": (unresolved,)}), cell, Host(pytorch_index=index.url))
