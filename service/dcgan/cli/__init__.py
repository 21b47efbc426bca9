"""The command `dcgan`: serve a model, check one, ask a server for pictures.

Exit codes: 0 done; 1 it couldn't be done, with one line on standard error that says why; 2 the command line is wrong;
130 interrupted by Ctrl-C; 141 nobody reads the output any more; 143 ended by SIGTERM. `ask` and `operate` hold the
commands; they and what they need are loaded when they run, so that each command loads no more than its own.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import dcgan
from dcgan.cli import flags, output
from dcgan.errors import DcganError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Wrong usage, with 2, and SIGTERM end the program by SystemExit."""
    given = list(sys.argv[1:] if argv is None else argv)
    if os.getpid() == 1:
        # the kernel drops what a container's first process has no handler for; until the server listens for signals,
        # which is seconds later, it would otherwise miss that it is to stop, and be waited for until it is killed
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    try:
        try:
            return _run(given)
        finally:
            output.flush()  # of --help too, with which argparse ends the program itself
    except DcganError as error:
        output.note(f"dcgan: {' '.join(error.message.split())}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


def _run(argv: list[str]) -> int:
    arguments = _parser(argv).parse_args(argv)
    if arguments.command not in flags.ASKING:
        from dcgan.cli import operate

        return int(getattr(operate, arguments.command)(arguments))

    from dcgan.cli import ask

    with _ended_in_order():
        return int(getattr(ask, arguments.command)(arguments))


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Lets SIGTERM end the block as Ctrl-C does, so that files that were begun are removed."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, lambda *_: None)  # `timeout` signals twice, and the second one must not cut the cleaning up
    sys.exit(128 + number)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Builds the parser; the server's flags, whose definitions take time to load, only where they are asked for."""
    parser = argparse.ArgumentParser("dcgan", description="Pictures from a GAN, over gRPC.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"dcgan {dcgan.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add, line) in flags.COMMANDS.items():
        command = commands.add_parser(name, help=line, description=line, allow_abbrev=False)
        command.set_defaults(usage_error=command.error)
        if name != "serve" or argv[:1] == ["serve"]:
            add(command)
    return parser
