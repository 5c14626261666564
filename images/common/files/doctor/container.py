"""What the container was given: memory for workers, a user, folders, limits, a compiler that works."""

import ctypes
import os
import pwd
import resource
import subprocess
import tempfile

from finding import BUSY, fault, limit, ok

GIGABYTE = 1 << 30
CGROUP = "/sys/fs/cgroup/"
SLOW = " did not end within "
"""What is said of a compiler where a machine is too busy, or a disk too slow, to try it."""
KEPT = (".cache", ".config", ".local")
"""Where programs keep caches, settings and what users install, in a home."""
DEPTH, MOST = 3, 2000
"""How deep, and in how many folders, is looked for what can't be written: a cache may have many thousands."""


def read(wait):
    """What the kernel says, and whether a small C program compiles, links and loads within `wait` seconds."""
    home = os.environ.get("HOME") or ""
    return {
        "shm": size_of("/dev/shm"),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": sorted(set(os.getgroups()) | {os.getgid()}),
        "name": name_of(os.getuid()),
        "home": home,
        "closed": {path: owner_of(path) for path in closed({home, home_of(os.getuid())} - {"", "/"})},
        "writable": {path: writable(path) for path in {home, folder(), tempfile_folder()} - {""}},
        "folder": folder(),
        "temporary": tempfile_folder(),
        "cpus": cpus(),
        "memory": first_number(CGROUP + "memory.max", CGROUP + "memory/memory.limit_in_bytes"),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "compiler": compiler(wait),
    }


def size_of(path):
    """Bytes of the file system that a folder lies on, None if there is none."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize


def name_of(uid):
    """The user's name; None where the image does not know it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def home_of(uid):
    """The home that the image has for a user; empty where it does not know it."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def owner_of(path):
    """The user id that a folder belongs to."""
    return os.stat(path).st_uid


def closed(homes):
    """The topmost folders that can't be written of those in homes where programs keep files; a mount may be one."""
    waiting = [(os.path.join(home, name), 1) for home in sorted(homes) for name in KEPT]
    found, seen = [], 0
    while waiting and seen < MOST:
        path, depth = waiting.pop(0)
        if os.path.islink(path) or not os.path.isdir(path):
            continue
        seen += 1
        if not os.access(path, os.W_OK):
            found.append(path)
        elif depth < DEPTH:
            waiting += [(os.path.join(path, name), depth + 1) for name in sorted(os.listdir(path))]
    return found


def folder():
    """The current folder; empty if it is there no longer."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def tempfile_folder():
    """Where temporary files go; empty if there is no such place."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return ""


def writable(path):
    """Whether a file can be made in a folder; trying tells, since root may write where the bits say no."""
    try:
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def cpus():
    """Cores that processes here may use: those that are assigned, and the share of time that is allowed."""
    found = len(os.sched_getaffinity(0))
    try:
        with open(CGROUP + "cpu.max") as file:
            quota, period = file.read().split()
    except OSError:  # cgroups of version 1
        quota, period = first_number(CGROUP + "cpu/cpu.cfs_quota_us"), first_number(CGROUP + "cpu/cpu.cfs_period_us")
    limited = quota and period and quota != "max" and int(quota) > 0
    return min(found, int(quota) / int(period)) if limited else float(found)


def first_number(*paths):
    """The number in the first of some files that can be read; None if there is none, or it is a word."""
    for path in paths:
        try:
            with open(path) as file:
                return int(file.read())
        except (OSError, ValueError):
            continue
    return None


def compiler(wait):
    """None if C and C++ compile, link and load; else what went wrong."""
    try:
        with tempfile.TemporaryDirectory() as made:
            for program, language, source in (
                ("gcc", "c", "int f"),
                ("g++", "c++", '#include <cmath>\nextern "C" int f'),
            ):
                library = os.path.join(made, program + ".so")
                command = [program, "-shared", "-fPIC", "-x", language, "-o", library, "-"]
                text = (source + "(void) { return 42; }\n").encode()
                done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=wait)
                if done.returncode:
                    return "{} fails: {}".format(program, done.stderr.decode(errors="replace").strip()[-200:])
                if ctypes.CDLL(library).f() != 42:
                    return f"what {program} compiled computes nonsense"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except subprocess.TimeoutExpired:
        return program + SLOW + "{:g} seconds".format(wait)
    except OSError as error:
        return str(error)
    return None


def judge(contract, found):
    """What follows for users."""
    findings = [shared_memory(found["shm"]), user(contract, found)]
    findings += folders(found)
    findings.append(compiling(found))
    findings.append(machine(found))
    return findings


def shared_memory(size):
    """DataLoader workers and NCCL hand data over in /dev/shm."""
    step = "docker run --shm-size 8g (or --ipc host); in Kubernetes: an emptyDir with medium Memory at /dev/shm"
    if size is None:
        return limit("shm", "there is no /dev/shm: no DataLoader with workers, no NCCL", step)
    text = f"/dev/shm has {size / 2**20:,.0f} MB"
    if size < GIGABYTE:
        return limit("shm", text + ": DataLoader workers with large batches end with a bus error, and NCCL may", step)
    return ok("shm", text)


def user(contract, found):
    """Who runs this, and what others will see of it."""
    name = found["name"] or "which the image does not know by name"
    text = "uid {} ({}), groups {}".format(found["uid"], name, " ".join(str(group) for group in found["groups"]))
    if found["uid"] == 0 and contract["user"]["uid"] != 0:
        return limit(
            "user",
            text + ": what it writes into mounted folders belongs to root",
            "leave out -u 0, or: -u $(id -u):$(id -g)",
        )
    return ok("user", text)


def folders(found):
    """HOME, the current folder, and where temporary files go."""
    findings = []
    home, current = found["home"], found["folder"]
    if not home or not found["writable"].get(home):
        what = "HOME is {}, which can't be written: caches of pip, Triton and matplotlib have no place".format(
            home or "not set"
        )
        step = (
            "keep the image's entry point, which gives every user a home (docker exec CONTAINER torchdev-entrypoint "
            "COMMAND); it needs a /tmp: docker run --tmpfs /tmp:exec"
        )
        findings.append(fault("home", what, step))
    else:
        findings += inside(found) or [ok("home", f"{home} can be written, and what it has for caches and settings")]
    if not current:
        findings.append(fault("folder", "the current folder is there no longer", "cd to one that is"))
    elif not found["writable"].get(current):
        what = "{} can't be written by uid {}".format(current, found["uid"])
        findings.append(limit("folder", what, 'docker run -u $(id -u):$(id -g) -v "$PWD":/workspace'))
    if not found["temporary"]:
        findings.append(
            fault(
                "temporary",
                "no folder takes temporary files: a read-only root without a /tmp",
                "docker run --tmpfs /tmp:exec",
            )
        )
    return findings


def inside(found):
    """Folders in HOME that take no files: of a volume that the engine made for root, or that root has made."""
    findings = []
    for path, owner in sorted(found["closed"].items()):
        what = f"{path} belongs to uid {owner}, and can't be written by uid {found['uid']}: programs keep nothing there"
        step = f"docker exec -u 0 CONTAINER chown -R {found['uid']}:0 {path}"
        findings.append(limit("home", what, step + "; new volumes are dev's where the image has a folder"))
    return findings


def compiling(found):
    """torch.compile and C++ extensions need a compiler, and a folder from which libraries can be loaded."""
    why = found["compiler"]
    if why is None:
        return ok("compiler", "gcc and g++ compile, and what they make loads")
    if not found["temporary"]:
        return limit("compiler", "not tried: there is no folder for temporary files")
    if SLOW in why:
        return limit("compiler", why + ", so what it makes was not tried", BUSY)
    noexec = "failed to map segment" in why or "Operation not permitted" in why
    step = (
        "mount {} with exec: docker run --tmpfs {}:exec".format(*[found["temporary"]] * 2)
        if noexec
        else "apt-get install gcc g++"
    )
    return fault("compiler", why + "; torch.compile and C++ extensions will fail", step)


def machine(found):
    """Cores, memory and open files."""
    memory = found["memory"]
    text = "{:g} cores, {}, {} open files".format(
        round(found["cpus"], 1),
        f"{memory / 1e9:.1f} GB of memory" if memory and memory < 1 << 50 else "no limit of memory",
        found["files"],
    )
    cores = os.cpu_count() or 1
    if found["cpus"] < cores / 2:
        step = "OMP_NUM_THREADS={}".format(max(1, int(found["cpus"])))
        return limit("machine", text + f"; PyTorch counts {cores} cores and starts as many threads", step)
    return ok("machine", text)
