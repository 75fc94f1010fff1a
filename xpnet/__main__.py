"""``python -m xpnet`` prints the backends and devices of this machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, version

from xpnet import __version__
from xpnet.backends import DeviceUnavailable, backend_names, load_backend

NOTE = "array_api_strict is a test backend: the reference implementation of the array API standard."


def _version(library: str) -> str:
    """Return the version of the package that installed a library, or "-" if there is none."""
    try:
        return version(packages_distributions()[library][0])
    except (KeyError, PackageNotFoundError):
        return "-"


def table() -> str:
    """Return a table of all backends: version and devices, or the reason why there are none and the fix."""
    rows = [("backend", "version", "device", "")]
    for name in backend_names():
        try:
            backend = load_backend(name)
            rows += [(name, _version(name), device, backend.open(device).describe()) for device in backend.devices()]
        except DeviceUnavailable as error:
            rows.append((name, _version(name), "none", str(error)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows
    )


if __name__ == "__main__":
    print(f"xpnet {__version__}\n\n{table()}\n\n{NOTE}")
