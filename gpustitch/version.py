"""The version of the running package; another version may be installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

UNKNOWN = "0+unknown"


def version_beside(folder: Path) -> str:
    """Version of gpustitch that the folder holding its package states.

    Parameters
    ----------
    folder
        A checkout with its pyproject.toml, or a folder of installed packages with their metadata.

    Returns
    -------
    str
        The version; ``UNKNOWN`` if neither states one, for example for a package that was only copied.
    """
    stated = folder / "pyproject.toml"
    if stated.is_file():
        project = tomllib.loads(stated.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "gpustitch":
            return str(project.get("version", UNKNOWN))
    return next((found.version for found in distributions(name="gpustitch", path=[str(folder)])), UNKNOWN)


VERSION = version_beside(Path(__file__).parents[1])
