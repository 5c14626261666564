"""Pages of indexes, made up: what comes of one is of its kind, or the index is refused; never a traceback."""

import html
from urllib.parse import quote

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename
from pypi_simple import ProjectPage, PyPISimple

from torchdev.catalog import wheel_name
from torchdev.util import texts
from torchdev.wheels import index, wheel
from torchdev.wheels.host import Host
from torchdev.wheels.remote import Silent, Untrue

PARTS = st.text(max_size=12) | st.sampled_from(
    (
        "torch",
        "2.13.0",
        "2.13.0+cu126",
        "cp311",
        "abi3",
        "none",
        "manylinux_2_28_x86_64",
        "linux_aarch64",
        "$(id)",
        "\n",
    )
)
NAMES = st.lists(PARTS, min_size=3, max_size=6).map("-".join).map("{}.whl".format) | st.text(max_size=30)
SOUND = "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"
HASHES = st.sampled_from(("", f"#sha256={'ab' * 32}", "#sha256=zz", "#sha256=", f"#md5={'0' * 32}")) | st.text(
    max_size=9
)


@st.composite
def pages(draw: st.DrawFn) -> str:
    """HTML with links as indexes have them, some of which no index has."""
    lines = []
    for name in draw(st.lists(NAMES | st.just(SOUND), max_size=5)):
        href = draw(st.just(quote(name)) | st.just(name) | NAMES | st.text(max_size=30)) + draw(HASHES)
        shown = name if draw(st.booleans()) else draw(NAMES)
        lines.append(f'<a href="{html.escape(href)}">{html.escape(shown)}</a>')
    return "\n".join(lines)


def listed_or_refused() -> "list[index.Listed]":
    """The wheels of the page; none if it is refused, in words that a terminal may show."""
    try:
        return index.list_wheels(Host(), "http://index.example", "torch") or []
    except (Silent, Untrue) as error:
        said = str(error)
    assert texts.printable(said) == said
    return []


@given(page=pages() | st.text())
@example(page=f'<a href="{SOUND}#sha256={"ab" * 32}">{SOUND}</a>')
@example(page=f'<a href="http://[/{SOUND}">{SOUND}</a>')
@example(page='<base href="http://["><a href="x">x</a>')
def test_a_page_gives_what_is_of_its_kind_or_is_refused(monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """Whatever its links are, and whatever they say they are."""
    monkeypatch.setattr(
        PyPISimple,
        "get_project_page",
        lambda client, project: ProjectPage.from_html(project, page, base_url="http://index.example/t/"),
    )
    for listed in listed_or_refused():
        assert texts.WHEEL.matches(listed.wheel.file)
        assert texts.VERSION.matches(listed.version)
        assert texts.ADDRESS.matches(listed.url)
        assert listed.wheel.sha256 is None or texts.SHA256.matches(listed.wheel.sha256) or listed.wheel.sha256 == ""
        assert listed.wheel.arch in ("amd64", "arm64")


@given(page=st.binary(max_size=200), kind=st.sampled_from(("text/html", "application/vnd.pypi.simple.v1+json", "x")))
@example(page=b"\x00<![\x00", kind="text/html")
@example(page=b"{}", kind="application/vnd.pypi.simple.v1+json")
@example(page=b'{"meta": {"api-version": "9.0"}}', kind="application/vnd.pypi.simple.v1+json")
@example(page=b'{"meta": 1, "name": 1, "files": 1}', kind="application/vnd.pypi.simple.v1+json")
@example(
    page=b'{"name": "torch", "meta": {"api-version": "1.0"}, "files": [1]}', kind="application/vnd.pypi.simple.v1+json"
)
def test_any_answer_is_a_page_or_is_refused(monkeypatch: pytest.MonkeyPatch, page: bytes, kind: str) -> None:
    """Of either form, or of none."""
    answer = requests.Response()
    answer._content, answer.status_code, answer.url = page, 200, "http://index.example/torch/"
    answer.headers["Content-Type"] = kind
    monkeypatch.setattr(
        PyPISimple, "get_project_page", lambda client, project: ProjectPage.from_response(answer, project)
    )
    listed_or_refused()


@given(NAMES)
@example("torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.manylinux_2_36_x86_64.whl")
@example("torch-2.13.0-1-py2.py3-none-any.whl")
def test_the_name_of_a_wheel_is_read_as_packaging_reads_it(name: str) -> None:
    """Taken apart alike, or refused alike; what fits a Python has one of its tags."""
    if not texts.WHEEL.matches(name):
        return
    try:
        project, version, _, tags = parse_wheel_filename(name)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - packaging's own are several
            wheel_name.parsed(name)
        return
    assert wheel_name.parsed(name) == wheel_name.Name(project, str(version), tags)
    assert wheel.fits(name, "3.11") == (wheel.best([name], "3.11") is not None)
