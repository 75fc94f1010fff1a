"""Which packages there are; all else is in pyproject.toml, which has no words for this."""

from setuptools import find_packages, setup

# backends/ stands beside xpnet/ in the checkout and is installed inside it, as xpnet.backends.
setup(
    packages=[
        *find_packages(include=["xpnet", "xpnet.*"]),
        *(f"xpnet.{name}" for name in find_packages(include=["backends", "backends.*"])),
    ],
    package_dir={"xpnet": "xpnet", "xpnet.backends": "backends"},
)
