"""Images on top of an image, by the Dockerfiles of docs/derive.md: torch stays, and the checks pass again."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.reds import reds
from tests.sabotage.cases import Case, options
from tests.unit.conftest import ROOT
from torchdev.docgen.project import open_project
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.util.errors import BuildError
from torchdev.wheels.host import read_host

PAGE = (ROOT / "docs" / "derive.md").read_text(encoding="utf-8")
DOCKERFILES = dict(zip(("pip", "uv"), re.findall(r"^```Dockerfile\n(.*?)^```", PAGE, re.S | re.M), strict=True))
CPU = ROOT / "tests" / "cpu" / "matrix.yaml"
PROJECT = "transformers\nlightning\n"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
ADDED = {"test_contract_is_in_the_image", "test_doctor_finds_no_fault"}
"""Checks that say that something was added: the contract inside is that of the image below, and the doctor notes it."""
USE = """
import lightning, torch
from transformers import BertConfig, BertForSequenceClassification

class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        self.model = BertForSequenceClassification(BertConfig(vocab_size=50, **sizes))

    def training_step(self, batch):
        return self.model(input_ids=batch[0], labels=batch[1]).loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)

words, labels = torch.randint(50, (32, 8)), torch.arange(32) % 2
model = Classifier()
loss = lambda: float(model.model(input_ids=words, labels=labels).loss)
model.eval(); before = loss()
batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(words, labels), 16)
options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
lightning.Trainer(accelerator="cpu", max_epochs=20, **options).fit(model, batches)
model.eval(); print("learnt", loss() < before)
"""
RECORD = "cat /usr/local/share/torchdev/records/torch-*.csv | sha256sum"


@pytest.fixture
def derive(
    engine: Engine, small: Plan, build: "Callable[..., Path]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[Callable[..., str]]":
    """Build a Dockerfile of the page on the small image, with this machine's CA and indexes; the new image's name."""
    made = []

    def run(tool: str, requirements: str) -> str:
        host, context = read_host(), tmp_path / "context"
        context.mkdir()
        (context / "requirements.txt").write_text(requirements)
        (tmp_path / "pip.conf").write_text(host.pip_conf() + (f"cert = {BUNDLE}\n" if host.ca_bundle else ""))
        (tmp_path / "uv.toml").write_text("system-certs = true\n" + host.uv_toml())
        secrets = [f"--secret=id={name},src={tmp_path / name}" for name in ("pip.conf", "uv.toml")]
        secrets += [f"--secret=id=ca,src={host.ca_bundle}"] if host.ca_bundle else []
        for name, value in host.proxies:
            monkeypatch.setenv(name, value)
        arguments = [f"--build-arg={name}" for name, _ in host.proxies]
        text = re.sub(r"^FROM .*", f"FROM {small.tags[0]}", DOCKERFILES[tool])
        made.append(f"torchdev-test-derived:{tmp_path.name[-40:].strip('-_.').lower()}")
        build(text, made[0], *secrets, *arguments, context=context)
        return made[0]

    yield run
    for name in made:
        engine.untag(name)


@pytest.mark.parametrize("tool", DOCKERFILES)
@pytest.mark.full
def test_a_project_on_top_keeps_torch(
    engine: Engine, small: Plan, derive: "Callable[..., str]", tool: str, tmp_path: Path
) -> None:
    """Transformers and lightning train together; torch is the same; only what tells of additions turns red."""
    image = derive(tool, PROJECT)
    assert engine.run(image, ["sh", "-c", RECORD]) == engine.run(small.tags[0], ["sh", "-c", RECORD])
    status, output = engine.run(image, ["python", "-c", USE], network_mode="none")
    assert status == 0, output
    assert output.splitlines()[-1] == "learnt True"
    paths = open_project(ROOT, CPU).paths
    contract = json.loads(paths.contract(small.cell.id).read_text())
    listing = engine.run(image, ["pip", "list", "--format", "json"])[1]
    found = {canonicalize_name(package["name"]): package["version"] for package in json.loads(listing)}
    packages = {name: version for name, version in found.items() if name not in ("pip", "uv")} | contract["packages"]
    assert {"transformers", "lightning"} < packages.keys() - contract["packages"].keys()
    held = tmp_path / "contract.json"
    held.write_text(json.dumps({**contract, "packages": packages, "size_limit": None}))
    checks = [*options(Case(tool, frozenset(), slow=tool == "pip")), f"--contract={held}"]
    assert {name for name, _ in reds(small, paths, image, checks, tmp_path / "report.xml")} == ADDED


@pytest.mark.parametrize("tool", ["pip", pytest.param("uv", marks=pytest.mark.full)])
def test_a_project_that_wants_another_torch_is_not_built(
    derive: "Callable[..., str]", small: Plan, tool: str, tmp_path: Path
) -> None:
    """The build ends with the version that the image has."""
    with pytest.raises(BuildError):
        derive(tool, "torch==2.8.0\n")
    assert str(small.lock.version("torch")) in (tmp_path / "log").read_text()


ROGUE = """
import zipfile
files = ("torch/__init__.py", "torch/version.py", "torch/lib/libtorch_cpu.so")
info = "rogue-1.0.dist-info"
with zipfile.ZipFile("/tmp/rogue-1.0-py3-none-any.whl", "w") as archive:
    for path in files:
        archive.writestr(path, "raise OSError")
    archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: rogue\\nVersion: 1.0\\n")
    archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    archive.writestr(info + "/RECORD", "".join(path + ",,\\n" for path in files) + info + "/RECORD,,\\n")
"""
PIP, UV = "pip install --no-index", "uv pip install --offline --no-index --link-mode copy"
DERIVED = f"""
FROM {{image}}
USER {{user}}
RUN python <<'EOF'
{ROGUE}
EOF
RUN {{install}} /tmp/rogue-1.0-py3-none-any.whl
RUN pip uninstall --yes torch || uv pip uninstall torch || true
USER 1000
"""


@pytest.mark.parametrize(
    ("user", "install"),
    [
        ("0", PIP),
        pytest.param("0", UV, marks=pytest.mark.full),
        pytest.param("1000", PIP, marks=pytest.mark.full),
        ("1000", UV),
    ],
)
def test_what_a_derived_image_installs_leaves_torch_alone(
    engine: Engine, small: Plan, build: "Callable[..., Path]", user: str, install: str
) -> None:
    """A package with files of torch, as root, too: they lie beside torch's, which is imported; the doctor agrees."""
    name = f"torchdev-test-derived:rogue-{user}-{install[0]}"
    build(DERIVED.format(image=small.tags[0], user=user, install=install), name)
    try:
        ask = 'python -c "import torch; print(torch.ones(2).sum().item())" && torchdev-doctor --wait 60'
        status, output = engine.run(name, ["sh", "-c", ask], network_mode="none")
    finally:
        engine.untag(name)
    assert status == 0, output
    assert output.startswith("2.0")
    assert "of PyTorch and CUDA are as the build wrote them" in output
