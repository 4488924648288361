"""The tree of errors: each is also a builtin, and each carries the exit code of the command line."""


class GpustitchError(Exception):
    """Anything gpustitch refuses or fails at. Its text says what was given, what was expected and what to do."""

    exit_code = 1


class ParameterError(GpustitchError, ValueError):
    """A parameter is out of range or contradicts another."""

    exit_code = 3


class InputMissingError(GpustitchError, FileNotFoundError):
    """A file, directory or tile that should be read is not there."""

    exit_code = 4


class DamagedInputError(GpustitchError, OSError):
    """A file is not of the format it should be, truncated, or contradicts itself."""

    exit_code = 5


class LayoutError(GpustitchError, ValueError):
    """Tiles do not make a mosaic: unreadable names, duplicates, frames of different sizes."""

    exit_code = 6


class OutputExistsError(GpustitchError, FileExistsError):
    """The output is there already and ``--overwrite`` was not given."""

    exit_code = 7


class OutputError(GpustitchError, OSError):
    """The output cannot be written: no space, no permission, a failed write."""

    exit_code = 8


class DeviceError(GpustitchError, RuntimeError):
    """The device asked for cannot be used, or an operation has no body for it."""

    exit_code = 9


class AlignmentError(GpustitchError, RuntimeError):
    """Tile positions cannot be solved from what was found."""

    exit_code = 10


class MissingExtraError(GpustitchError, ImportError):
    """An optional dependency is needed; the text names the extra to install."""

    exit_code = 11
