"""How images leave a builder, and what its garbage collection keeps."""

import pytest

from torchdev.cli.doctor import judge_cache
from torchdev.engine.outputs import (
    ZSTD,
    BuilderConfig,
    Policy,
    containerd_store,
    keeping,
    kept,
    load_output,
    read_policies,
    refusal,
    shared_tag,
)

SHARED = "0123456789abcdef0123"
INSPECTED = """\
Name:          default
Driver:        docker
Platforms:        linux/amd64, linux/386
GC Policy rule#0:
 All:           false
 Filters:       type==source.local,type==exec.cachemount,type==source.git.checkout
 Keep Duration: 48h0m0s
 Keep Bytes:    5.527GiB
GC Policy rule#1:
 All:           false
 Keep Duration: 1440h0m0s
 Keep Bytes:    40GiB
GC Policy rule#2:
 All:        true
 Keep Bytes: 30GB
"""
"""As buildx 0.13.1 prints it of an engine with containerd's store; of the classic one it prints no policy."""


def test_store_is_told_from_what_the_engine_says() -> None:
    """As Docker 26.1 says it of either store."""
    assert containerd_store({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]})
    assert not containerd_store({"DriverStatus": [["Backing Filesystem", "extfs"]]})
    assert not containerd_store({"DriverStatus": None})
    assert not containerd_store({})


@pytest.mark.parametrize(
    ("driver", "containerd", "output"),
    [
        ("docker", False, "type=docker"),
        ("docker", True, f"type=image,{ZSTD}"),
        ("remote", False, f"type=docker,{ZSTD}"),
        ("kubernetes", True, f"type=docker,{ZSTD}"),
        ("docker-container", False, f"type=docker,{ZSTD}"),
    ],
)
def test_whatever_is_compressed_is_zstd(driver: str, containerd: bool, output: str) -> None:
    """The classic store compresses nothing."""
    assert load_output(driver, containerd=containerd) == output


def test_own_builder_adds_nothing() -> None:
    """The bake file stays as it was, for the commonest case."""
    assert BuilderConfig().options == []
    assert BuilderConfig().target("cell", SHARED) == {}
    assert BuilderConfig().stage(SHARED) == {"output": "type=cacheonly", "tags": ""}


def test_cache_has_a_tag_for_each_cell_and_for_what_is_shared() -> None:
    """Both are read; a cell writes its own, and the stage that others need writes the shared one."""
    builder = BuilderConfig(builder="far", driver="remote", cache_from=("r/a", "r/b"), cache_to="r/a")
    assert builder.options == ["--builder=far"]
    target = builder.target("cell", SHARED)
    assert target["cache-from"] == [
        f"type=registry,ref={ref}"
        for ref in ("r/a:cell", "r/a:shared-0123456789abcdef", "r/b:cell", "r/b:shared-0123456789abcdef")
    ]
    assert target["cache-to"] == [f"type=registry,ref=r/a:cell,mode=max,{ZSTD}"]
    assert builder.stage(SHARED)["cache-to"] == f"type=registry,ref=r/a:{shared_tag(SHARED)},mode=max,{ZSTD}"
    assert builder.stage("")["cache-to"] == ""


def test_classic_store_is_refused_a_cache() -> None:
    """Only its own builder; the others, and containerd's store, can write one."""
    assert "can't write its cache" in refusal(BuilderConfig(cache_to="r/a"))
    assert refusal(BuilderConfig(cache_to="r/a", containerd=True)) == ""
    assert refusal(BuilderConfig(builder="far", driver="remote", cache_to="r/a")) == ""
    assert refusal(BuilderConfig(cache_from=("r/a",))) == ""


def test_policies_are_read() -> None:
    """What is for some kinds of entries does not count; the least of the others is what is kept in any case."""
    policies = read_policies(INSPECTED)
    assert policies is not None
    assert policies == [Policy(5934571061, True), Policy(40 * 1024**3, False), Policy(30 * 10**9, False)]
    assert kept(policies, 10**12) == 30 * 10**9


def test_without_policies_it_is_a_share_of_the_disk() -> None:
    """If that can be seen."""
    assert kept(read_policies("Name: default\n"), 500 * 10**9) == 50 * 10**9
    assert kept(None, None) is None


def test_where_rules_are_printed_the_share_of_the_disk_is_not_said() -> None:
    """It is that of builders without rules; what is not read is not known."""
    for text in (INSPECTED.replace("Keep Bytes", "Other Bytes"), INSPECTED.partition("GC Policy rule#1")[0]):
        assert kept(read_policies(text), 500 * 10**9) is None


@pytest.mark.parametrize(
    ("sizes", "keep"),
    [
        (" Reserved Space: 9.313GiB\n Max Used Space: 93.13GiB\n Min Free Space: 43.77GiB", 9_999_757_606),
        (" Max Used Space: 93.13GiB\n Min Free Space: 43.77GiB", 0),
        (" Min Free Space: 43.77GiB", 0),
        (" Reserved Space: 20GiB", 20 << 30),
        (" Max Used Space: 20GiB", 20 << 30),
        (" Reserved Space: 5GiB\n Max Used Space: 20GiB", 20 << 30),
    ],
)
def test_newer_policies_are_read(sizes: str, keep: int) -> None:
    """With three sizes instead of one: what is reserved is kept, and the most too, where no room is to stay free."""
    first = " All:            false\n Filters:        type==exec.cachemount\n Max Used Space: 488.3MiB\n"
    text = f"GC Policy rule#0:\n{first}GC Policy rule#1:\n All:            true\n Keep Duration:  1440h0m0s\n{sizes}\n"
    assert read_policies(text) == [Policy(int(488.3 * 2**20), True), Policy(keep, False)]
    assert kept(read_policies(text), 500 * 10**9) == keep


def test_doctor_gives_the_exact_setting() -> None:
    """Where too little is kept; and says if no layer is safe."""
    enough = judge_cache(50 * 10**9, 43 * 10**9, 3 * 10**9)
    assert (enough.state, enough.next_step) == ("ok", "")
    little = judge_cache(25 * 10**9, 42_100_000_000, 3 * 10**9)
    assert little.state == "note"
    assert "keeps 25 GB" in little.text
    assert "takes 42 GB" in little.text
    assert '"builder": {"gc": {"enabled": true, "defaultKeepStorage": "43GB"}}' in little.next_step
    assert "not even its largest layer, 3.0 GB, is safe" in judge_cache(10**9, 43 * 10**9, 3 * 10**9).text
    assert judge_cache(None, 10**9, 10**9).state == "note"
    assert keeping(43 * 10**9).endswith('"43GB"}}')
