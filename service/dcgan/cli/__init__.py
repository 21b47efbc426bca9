"""The command `dcgan`: serve a model, check one, ask a server for pictures.

Exit codes: 0 done; 1 it couldn't be done, with one line on standard error that says why; 2 the command line is wrong;
130 interrupted by Ctrl-C; 141 nobody reads the output any more. `ask` and `operate` hold the commands; they and what
they need are loaded when they run, so that each command loads no more than its own.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import dcgan
from dcgan.cli import flags
from dcgan.errors import DcganError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Argparse ends the program itself, with 2, for wrong usage."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(given)
        sys.stdout.flush()  # here, where a broken pipe is still caught
    except DcganError as error:
        sys.stderr.write(f"dcgan: {' '.join(error.message.split())}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes at exit once more; nothing may be left for it to complain about
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _run(argv: list[str]) -> int:
    arguments = _parser(argv).parse_args(argv)
    if arguments.command in flags.ASKING:
        from dcgan.cli import ask as commands
    else:
        from dcgan.cli import operate as commands  # type: ignore[no-redef]
    code: int = getattr(commands, arguments.command)(arguments)
    return code


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
