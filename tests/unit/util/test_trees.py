"""Files by path: differences are seen; what was not written here is never removed, nor written through."""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from torchdev.util import files, trees
from torchdev.util.errors import InputError
from torchdev.util.listed import LIST
from torchdev.util.trees import Changes, File, Tree

FILES = {"a/run.sh": File(b"#!/bin/sh\n", 0o755), "a/b.bin": File(b"\0\xff"), "page.md": File(b"# Page\n")}
LESS = {"page.md": FILES["page.md"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with just these files."""
    trees.update(Tree(root=tmp_path / "root", files=FILES))
    return tmp_path / "root"


def below(root: Path) -> set[str]:
    """What is below a folder, but for folders and the list."""
    paths = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(root).as_posix() for path in paths} - {LIST}


def test_what_was_written_does_not_differ(root: Path) -> None:
    """Scripts can be run, other files can't; the list has all, as sha256sum reads it."""
    assert trees.compare(Tree(root=root, files=FILES)) == Changes()
    assert [(root / name).stat().st_mode & 0o777 for name in FILES] == [0o755, 0o644, 0o644]
    assert [line.split("  ")[1] for line in (root / LIST).read_text().splitlines()] == [
        "a/b.bin",
        "a/run.sh",
        "page.md",
    ]


def test_each_difference_is_seen_and_mended(root: Path) -> None:
    """Another text, a missing file, one that can't be run, one that was made before; not what others own."""
    trees.update(Tree(root=root, files={**FILES, "a/c/stale": File(b"")}))
    (root / "page.md").write_text("other")
    (root / "a" / "b.bin").unlink()
    (root / "a" / "run.sh").chmod(0o644)
    (root / "a" / "model.pt").write_text("")
    changes = trees.update(Tree(root=root, files=FILES))
    kept = changes.kept["page.md"]
    assert changes == Changes(
        write=("a/b.bin", "a/run.sh", "page.md", LIST),
        remove=("a/c/stale",),
        edited=("page.md",),
        kept={"page.md": kept},
    )
    assert kept.read_text() == "other"
    assert below(root) == {*FILES, "a/model.pt"}
    assert not (root / "a" / "c").exists()
    assert trees.update(Tree(root=root, files=FILES)) == Changes()


def test_pages_have_no_list(tmp_path: Path) -> None:
    """README.md is generated in part, and there before anything is written."""
    (tmp_path / "page.md").write_text("mine")
    changes = trees.update(Tree(root=tmp_path, files=LESS, listed=False, kept=tmp_path / "kept"))
    assert changes.write == ("page.md",)
    assert changes.kept["page.md"].read_text() == "mine"
    assert below(tmp_path) == {"page.md", changes.kept["page.md"].relative_to(tmp_path).as_posix()}
    assert not (tmp_path / LIST).exists()


def test_without_a_list_nothing_is_removed(root: Path) -> None:
    """A folder of an earlier torchdev: what is still made is taken over, whatever it was."""
    (root / LIST).unlink()
    (root / "page.md").write_text("of an earlier version")
    changes = trees.update(Tree(root=root, files=LESS))
    assert changes == Changes(write=("page.md", LIST), kept=changes.kept)
    assert {name: copy.read_text() for name, copy in changes.kept.items()} == {"page.md": "of an earlier version"}
    assert below(root) == set(FILES)


def test_what_was_changed_is_not_removed_and_said_once(root: Path) -> None:
    """It is whose who changed it, from then on."""
    (root / "a" / "b.bin").write_text("mine now")
    changes = trees.update(Tree(root=root, files=LESS))
    assert changes.left == {"a/b.bin": "it was changed since it was written"}
    assert below(root) == {"page.md", "a/b.bin"}
    assert trees.update(Tree(root=root, files=LESS)) == Changes()


def test_an_edit_is_told_from_what_is_out_of_date(root: Path) -> None:
    """By the hashes of what was written there: an edit, both sides of a merge; not a new text, a lost bit or file."""
    assert trees.compare(Tree(root=root, files={**FILES, "page.md": File(b"# Next\n")})).edited == ()
    for text in ("# Page\n# mine\n", "<<<<<<< ours\n# Page\n=======\n>>>>>>> theirs\n", "", "# Page\r\n"):
        (root / "page.md").write_bytes(text.encode())
        assert trees.update(Tree(root=root, files=FILES)).edited == ("page.md",)
        assert trees.update(Tree(root=root, files=FILES)) == Changes()
    (root / "a" / "b.bin").unlink()
    (root / "a" / "run.sh").chmod(0o644)
    assert trees.update(Tree(root=root, files=FILES)).edited == ()


def test_what_a_user_wrote_is_kept_before_it_is_written_over(root: Path) -> None:
    """Each content once, wherever it came from; not what torchdev itself wrote, nor what differs in line ends alone."""
    texts = ["# Page\n# mine\n", "", "\r", "# Page\n# mine\n", "<<<<<<< ours\n# Page\n=======\n>>>>>>> theirs\n"]
    for text in texts:
        (root / "page.md").write_text(text, newline="")
        assert trees.update(Tree(root=root, files=FILES)).kept["page.md"].read_bytes() == text.encode()
    copies = [path for path in (root.parent / ".torchdev" / "replaced").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in copies) == sorted({text.encode() for text in texts})
    (root / "page.md").write_bytes(b"# Page\r\n")
    (root / "a" / "run.sh").chmod(0o600)
    assert trees.update(Tree(root=root, files=FILES)).kept == {}
    assert trees.update(Tree(root=root, files={**FILES, "page.md": File(b"# Next\n")})).kept == {}


def test_where_no_copy_can_be_kept_nothing_is_written_over(root: Path, tmp_path: Path) -> None:
    """As on a full disk, or where the working folder belongs to another user."""
    (root / "page.md").write_text("mine")
    (root / "a" / "b.bin").unlink()
    (tmp_path / "full").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        trees.update(Tree(root=root, files=FILES, kept=tmp_path / "full"))
    assert (root / "page.md").read_text() == "mine"
    assert not (root / "a" / "b.bin").exists()


@pytest.mark.parametrize("what", ["file", "folder", "pipe", "socket", "link to a folder"])
def test_what_stands_in_the_way_is_refused_before_anything_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Since it is not torchdev's; nothing is read that might not end."""
    monkeypatch.chdir(root)
    make: dict[str, Callable[[], object]] = {
        "file": lambda: Path("new").write_text("mine"),
        "folder": lambda: Path("new").mkdir(),
        "pipe": lambda: os.mkfifo("new"),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind("new"),
        "link to a folder": lambda: Path("new").symlink_to("a"),
    }
    make[what]()
    with pytest.raises(InputError, match="new") as caught:
        trees.update(Tree(root=root, files={**FILES, "new": File(b"x"), "also": File(b"y")}))
    assert "nothing was" in caught.value.what
    assert not (root / "also").exists()


def test_a_file_that_is_there_and_is_as_it_should_be_is_taken_over(root: Path) -> None:
    """As after a merge."""
    (root / "new").write_bytes(b"x")
    trees.update(Tree(root=root, files={**FILES, "new": File(b"x")}))
    assert "  new\n" in (root / LIST).read_text()


@pytest.mark.parametrize("link", ["", "a", "a/sub"])
def test_nothing_is_written_or_removed_through_a_link(tmp_path: Path, link: str) -> None:
    """The folder itself, a cell's, or one in it: what a link leads to is elsewhere."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    made = {"a/sub/x": File(b"x"), "b/y": File(b"y")}
    trees.update(Tree(root=root, files=made))
    (root / link).rename(elsewhere)
    (root / link).symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    for name in ("a/sub/x", "b/y"):
        more = {**made, name: File(b"another")}
        if link == "" or name.startswith(link):
            with pytest.raises(InputError, match="is a link"):
                trees.update(Tree(root=root, files=more))
    if link:
        changes = trees.update(Tree(root=root, files={"b/y": File(b"y")}))
        assert "is a link" in changes.left["a/sub/x"]
    else:
        with pytest.raises(InputError, match="is a link"):
            trees.update(Tree(root=root, files={"b/z": File(b"y")}))
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before


def test_a_link_in_a_files_place_is_replaced_and_not_followed(root: Path, tmp_path: Path) -> None:
    """It was a file when it was written."""
    (tmp_path / "elsewhere").write_bytes(FILES["page.md"].data)
    (root / "page.md").unlink()
    (root / "page.md").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "b.bin").unlink()
    (root / "a" / "b.bin").symlink_to(tmp_path / "elsewhere")
    trees.update(Tree(root=root, files=LESS))
    assert not (root / "page.md").is_symlink()
    assert (root / "a" / "b.bin").is_symlink()
    assert (tmp_path / "elsewhere").exists()


def test_another_spelling_of_a_file_is_not_removed(root: Path) -> None:
    """Where case does not matter, it is the same file; here a hard link is."""
    trees.update(Tree(root=root, files={**FILES, "Page.md": FILES["page.md"]}))
    (root / "Page.md").unlink()
    os.link(root / "page.md", root / "Page.md")
    trees.update(Tree(root=root, files=FILES))
    assert (root / "Page.md").exists()


HOSTILE = (
    "../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a/", ".", "..", "", LIST, "a\\..\\x", "a/\u202ex",
    "a/lock.json",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_list_is_refused_with_its_line(root: Path, name: str) -> None:
    """Nothing is removed by it."""
    (root / LIST).write_text((root / LIST).read_text() + f"{'ab' * 32}  {name}\n")
    with pytest.raises(InputError, match="is not a line of sha256") as caught:
        trees.update(Tree(root=root, files=LESS, others=lambda name: name.endswith("lock.json")))
    assert caught.value.where == f"{root / LIST}:4"
    assert below(root) == set(FILES)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 1000, b"ab  page.md", b"\0"])
def test_what_is_no_list_is_refused(root: Path, text: bytes) -> None:
    """With its line, too."""
    (root / LIST).write_bytes(text)
    with pytest.raises(InputError, match="is not a line of sha256"):
        trees.compare(Tree(root=root, files=FILES))


def test_lists_that_git_has_merged_are_read(root: Path) -> None:
    """Both sides of a conflict count, and a path may stand twice; the next rendering puts it in order."""
    own = (root / LIST).read_text()
    lines = own.splitlines(keepends=True)
    other = f"{'ab' * 32}  page.md\n"
    (root / LIST).write_text("<<<<<<< HEAD\n" + lines[0] + "=======\r\n" + other + ">>>>>>> x\n" + lines[1] + lines[2])
    assert trees.update(Tree(root=root, files=FILES)) == Changes(write=(LIST,))
    assert (root / LIST).read_text() == own


def test_a_killed_run_leaves_nothing_that_seems_to_be_of_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are listed before they are written; what was being written is removed."""
    write = files.write

    def killed(path: Path, content: "str | bytes", mode: int = 0o644) -> None:
        if path.name == "second":
            (path.parent / ".second.abcd1234.unfinished").write_text("")
            raise KeyboardInterrupt
        write(path, content, mode)

    monkeypatch.setattr(files, "write", killed)
    new = {**FILES, "c/first": File(b"1"), "c/second": File(b"2")}
    with pytest.raises(KeyboardInterrupt):
        trees.update(Tree(root=root, files=new, closed=("c",)))
    monkeypatch.undo()
    other = {**new, "c/first": File(b"another")}
    assert trees.update(Tree(root=root, files=other, closed=("c",))).remove == ("c/.second.abcd1234.unfinished",)
    assert below(root) == set(other)


def test_closed_folders_hold_nothing_else(root: Path) -> None:
    """Files of others, links and pipes in them are told, at any depth, and stay."""
    (root / "a" / "deep").mkdir()
    (root / "a" / "deep" / "mine").write_text("")
    (root / "a" / "link").symlink_to(root)
    os.mkfifo(root / "a" / "pipe")
    strays = trees.update(Tree(root=root, files=FILES, closed=("a",))).strays
    assert strays == ("a/deep/mine", "a/link", "a/pipe")
    assert below(root) == {*FILES, *strays}


def test_several_writers_come_one_after_another(tmp_path: Path) -> None:
    """Each speaks of a folder of its own: the list has the files of all."""
    made = [
        Tree(root=tmp_path, files={f"{n}/x": File(b"x")}, speaks=lambda name, n=n: name.startswith(f"{n}/"))
        for n in range(20)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(trees.update, made))
    assert len((tmp_path / LIST).read_text().splitlines()) == 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_can_not_be_read_is_an_error(root: Path) -> None:
    """And no traceback."""
    (root / "page.md").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        trees.compare(Tree(root=root, files=FILES))


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """And a folder in a file."""
    (tmp_path / "root").write_text("mine")
    for place in (tmp_path / "root", tmp_path / "root" / "sub"):
        with pytest.raises(InputError, match=r"can't be written|is not a folder"):
            trees.update(Tree(root=place, files=FILES))
    assert (tmp_path / "root").read_text() == "mine"


@pytest.mark.parametrize("before", ["nothing", "empty", "parents"])
def test_new_folder_has_the_files(tmp_path: Path, before: str) -> None:
    """Where none is, or an empty one, or not even the folder that it is to be in; nothing is left beside it."""
    folder = tmp_path / "x" / "new" if before == "parents" else tmp_path / "new"
    if before == "empty":
        folder.mkdir()
    trees.create(FILES, folder)
    assert below(folder) == set(FILES)
    assert trees.compare(Tree(root=folder, files=FILES, listed=False)) == Changes()
    assert [path.name for path in folder.parent.iterdir()] == ["new"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_folder_that_has_files_is_left_alone(root: Path) -> None:
    """And so is a file of that name."""
    for taken in (root, root / "page.md"):
        with pytest.raises(InputError, match="not an empty folder"):
            trees.create({"page.md": File(b"new")}, taken)
    assert (root / "page.md").read_bytes() == FILES["page.md"].data


@pytest.mark.parametrize("target", ["page.md/new", "/proc/nowhere/new"])
def test_folder_that_can_not_be_made_is_an_error(root: Path, target: str) -> None:
    """With the reason; and nothing is written."""
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match="can't be written") as caught:
        trees.create(FILES, root / target)
    assert "--out" in caught.value.next_step
    assert sorted(root.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_an_error(root: Path) -> None:
    """A folder that belongs to somebody else."""
    root.chmod(0o555)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            trees.create(FILES, root / "new")
    finally:
        root.chmod(0o755)
