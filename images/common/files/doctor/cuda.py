"""Asks the NVIDIA driver's library what it is and which GPUs it gives: JSON on standard output.

A line tells where the library lies, as soon as it is loaded, and another all that it answers. It is a process of its
own, since a driver that is not in order can crash it or keep it waiting. Functions and numbers are those of cuda.h and
nvml.h.
"""

import ctypes
import json

LIBRARY = "libcuda.so.1"
MANAGEMENT = "libnvidia-ml.so.1"
MAJOR, MINOR = 75, 76
"""Attributes of a device: its compute capability."""


def path_of(name):
    """Where a library that is loaded lies."""
    with open("/proc/self/maps") as file:
        return next((line.split()[-1] for line in file if name.split(".so")[0] + ".so" in line), None)


def devices(library):
    """Name, compute capability and bytes of each GPU."""
    count = ctypes.c_int()
    if library.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        device, name, size = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        library.cuDeviceGet(ctypes.byref(device), number)
        library.cuDeviceGetName(name, len(name), device)
        library.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        capability = [ctypes.c_int(), ctypes.c_int()]
        for value, attribute in zip(capability, (MAJOR, MINOR)):
            library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability = [value.value for value in capability]
        found.append({"name": name.value.decode(), "capability": capability, "bytes": size.value})
    return found


def driver():
    """The driver's version as its management library tells it; None where that is not there or refuses."""
    text = ctypes.create_string_buffer(96)
    try:
        library = ctypes.CDLL(MANAGEMENT)
        failed = library.nvmlInit_v2() or library.nvmlSystemGetDriverVersion(text, len(text))
    except (OSError, AttributeError):
        return None
    return None if failed else text.value.decode()


def main():
    """Load the library, initialise it, and print."""
    found = {"path": None, "init": None, "version": None, "devices": [], "driver": None}
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        found["error"] = str(error)
    else:
        version = ctypes.c_int()
        found["path"] = path_of(LIBRARY)
        print(json.dumps(found), flush=True)  # it may crash or hang from here on
        if not library.cuDriverGetVersion(ctypes.byref(version)):
            found["version"] = version.value
        found["init"] = library.cuInit(0)
        if found["init"] == 0:
            found["devices"] = devices(library)
        found["driver"] = driver()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
