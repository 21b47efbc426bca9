"""The command `dcgan` in the tests' own process."""

from collections.abc import Callable

import pytest

from dcgan.cli import main


def commands(target: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Gives what runs a command against a server: exit code, standard output, standard error."""

    def call(command: str, *flags: object, target: str = target) -> tuple[object, str, str]:
        code: object
        try:
            code = main([command, *map(str, flags), "--target", target])
        except SystemExit as wrong_usage:
            code = wrong_usage.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
