"""What training says to the person who runs it: each error becomes one line on stderr and exit code 1.

LocalError (of `dcgan.errors`)
├── DataError         the images can't be read, or can't be trained on
├── RecipeError       no recipe has this name
├── RunError          a run directory that can't be started, continued or exported
│   └── DivergedError     the losses or the weights are no longer finite numbers
└── FetchError        a download failed, or what came isn't what was expected
"""

from dcgan.errors import LocalError


class DataError(LocalError):
    """The images can't be read, or can't be trained on; names the file and the reason."""

    reason = "DATA_REFUSED"

    def __init__(self, file: object, why: str) -> None:
        super().__init__(f"{file}: {why}", file=file, why=why)


class RecipeError(LocalError):
    """No recipe has this name."""

    reason = "UNKNOWN_RECIPE"


class RunError(LocalError):
    """A run can't be started, continued or exported from this directory."""

    reason = "RUN_REFUSED"


class DivergedError(RunError):
    """The losses or the weights are no longer finite numbers; names the last good checkpoint."""

    reason = "RUN_DIVERGED"


class FetchError(LocalError):
    """A download failed, or what came isn't what was expected."""

    reason = "FETCH_FAILED"
