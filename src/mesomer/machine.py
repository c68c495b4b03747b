"""What a result depends on besides its settings, for the manifest: versions of the packages and the machine; and the
one setting of the machine that speeds things up.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_PACKAGES = (
    "mesomer", "torch", "rdkit", "numpy", "scipy", "scikit-learn", "pyarrow", "safetensors", "lightning-fabric",
)  # fmt: skip

# numbers of the options of mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result can depend on, without importing them."""
    import importlib.metadata

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    # Only where torch runs already: loading it just to look would cost seconds.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Has the C library keep freed memory for the next tensors instead of handing it back to the system.

    By default every large tensor is mapped anew and its pages are filled one fault at a time: some 75,000 faults in a
    training step of 128 molecules, which no longer happen. Only glibc (Linux) has these settings; elsewhere nothing is
    done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, 1 << 30)
    library.mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most that glibc takes


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPUs and system of this machine."""
    found: dict[str, Any] = {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "gpus": _gpus(),
    }
    with suppress(ValueError, OSError, AttributeError):
        found["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    return found
