"""Where numbers are computed, by name."""

import torch

from tutelage.exceptions import SettingError

CPU = torch.device("cpu")
DEVICES = ("auto", "cpu", "cuda")


def found_device(name: str) -> torch.device:
    """Give the device of a name; `auto` is a GPU where torch sees one.

    Raises
    ------
    SettingError
        If there is no such device.
    """
    if name not in DEVICES:
        raise SettingError(f"The device is {name!r}; expected one of {', '.join(DEVICES)}.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SettingError(
            "The device cuda was asked for, and torch sees no GPU here. Give --device cpu, or"
            " install a build of torch for your GPU."
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")
