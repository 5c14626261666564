"""What uv writes of wheels in folders of this machine: stubs and find-links, by path or by file: URL."""

from pathlib import Path

import pytest

from torchdev.wheels import pylock, remote, wheel
from torchdev.wheels.host import Host

FILE = "torch-2.13.0+cpu-py3-none-any.whl"
TEXT = """lock-version = "1.0"
[[packages]]
name = "torch"
version = "2.13.0+cpu"
wheels = [{{ {location}, hashes = {{ sha256 = "{sha256}" }} }}]
"""


@pytest.mark.parametrize("how", ['path = "{folder}/{file}"', 'url = "file://{folder}/{file}"'])
def test_a_wheel_in_a_folder_of_this_machine_is_one(tmp_path: Path, how: str) -> None:
    """And it is read off the disk."""
    wheel.write_stub(tmp_path, "torch", "2.13.0+cpu", ["filelock"])
    location = how.format(folder=tmp_path, file=FILE.replace("+", "%2B") if "url" in how else FILE)
    found = pylock.read(TEXT.format(location=location, sha256="ab" * 32))[0].links[FILE]
    assert remote.read_wheel(Host(), found.location, wheel.requirements) == ["filelock"]


@pytest.mark.parametrize("url", ["file://host/x/" + FILE, "file:" + FILE, "ftp://x/" + FILE, "file:///x/other.whl"])
def test_other_addresses_are_refused(url: str) -> None:
    """Of another machine, by another protocol, of another file."""
    with pytest.raises(ValueError, match=r"."):
        pylock.read(TEXT.format(location=f'url = "{url}"', sha256="ab" * 32))
