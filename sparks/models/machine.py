"""What a device is, which numbers it is given, and how much memory it has."""

import os

import torch

from sparks.errors import SparksError


def check_device(name: str | None) -> None:
    """See that a device can be used; None leaves the choice.

    Raises:
        SparksError: it cannot.
    """
    if name is None:
        return
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise SparksError(
            f"device {name!r} cannot be used on this machine; choose another, e.g. cpu"
        ) from error


def default_device() -> torch.device:
    """Where what nobody placed is put: the first GPU, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


_COMPUTED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def read_dtype(name: str | None) -> torch.dtype | None:
    """The floating-point type of that name; None leaves the choice.

    Raises:
        SparksError: there is none.
    """
    if name is None:
        return None
    dtype = getattr(torch, name, None)
    if dtype not in _COMPUTED:
        raise SparksError(f"dtype is {name!r}; choose float32, bfloat16 or float16")
    return dtype


def free_memory(device: torch.device) -> int:
    """Bytes that could be allocated now: on the GPU, or of the machine's own memory."""
    if device.type == "cuda":
        # What torch holds without using it can be used again.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + idle)
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return total_memory(device)


def total_memory(device: torch.device) -> int:
    """Bytes of the GPU's memory, or of the machine's own."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} with {os.cpu_count()} cores"
