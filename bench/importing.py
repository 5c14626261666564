"""The first `import torch` of a fresh container: torchdev's image, the naive one, and one without bytecode."""

from bench import contenders
from bench.cells import Subject
from bench.contenders import Setting, order
from bench.engine import Engine, settle
from bench.results import Results

REPEAT = 7
PROGRAM = """\
import time
began = time.perf_counter()
import torch
print(time.perf_counter() - began)
"""
WITHOUT = "find / -xdev -name '*.pyc' -delete && [ -z \"$(find / -xdev -name '*.pyc' -print -quit)\" ]"
BARE = "torchdev-bench-bare"
"""Repository name of the image without bytecode."""


def importing(
    results: Results, setting: Setting, engine: Engine, contender: str, subjects: "tuple[Subject, ...]"
) -> None:
    """Import in containers of three images in turn, with an empty page cache and then with a warm one."""
    subject = subjects[0]
    contenders.build(setting, engine, "naive", (subject,))
    images = {
        "naive": contenders.image("naive", subject),
        "torchdev": contenders.image("torchdev", subject),
        "torchdev without bytecode": _bare(setting, engine, subject),
    }
    for repetition in range(REPEAT):
        for name in order(images, repetition):
            settle()
            for state in ("cold seconds", "warm seconds"):
                results.add("import", state, name, 1, _seconds(engine, images[name]))


def _seconds(engine: Engine, image: str) -> float:
    """Seconds of `import torch` in a new container, as Python itself measures them."""
    done = engine.docker("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", PROGRAM)
    return float(done)


def _bare(setting: Setting, engine: Engine, subject: Subject) -> str:
    """An image that is torchdev's without bytecode."""
    folder = setting.workspace.fresh("bare")
    image = contenders.image("torchdev", subject)
    user = engine.docker("image", "inspect", "--format", "{{.Config.User}}", image)
    text = f"FROM {image}\nUSER 0\nRUN {WITHOUT}\nUSER {user}\n"
    (folder / "Dockerfile").write_text(text)
    name = f"{BARE}:{subject.id}"
    engine.docker("buildx", "build", "--load", "--provenance=false", f"--tag={name}", str(folder))
    return name
