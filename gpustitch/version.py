"""The version of the package that runs, which need not be the one that is installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

UNKNOWN = "0+unknown"


def version_beside(folder: Path) -> str:
    """Version of gpustitch as the folder that holds its package states it.

    Parameters
    ----------
    folder
        A checkout with its pyproject.toml, or where packages are installed, with their metadata.

    Returns
    -------
    str
        The version; ``UNKNOWN`` if neither states one, as for a package that was only copied.
    """
    stated = folder / "pyproject.toml"
    if stated.is_file():
        project = tomllib.loads(stated.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "gpustitch":
            return str(project.get("version", UNKNOWN))
    return next((found.version for found in distributions(name="gpustitch", path=[str(folder)])), UNKNOWN)


VERSION = version_beside(Path(__file__).parents[1])
