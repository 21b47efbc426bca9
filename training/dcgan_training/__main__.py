"""The command `dcgan-train`, also as `python -m dcgan_training`."""

import os
import sys
import traceback
from typing import NoReturn

from dcgan_training.cli import main


def run() -> NoReturn:
    """Ends the process with the command's exit code.

    One of several that fails ends at once: the closed connection is what tells the others, and to leave nccl's group
    in order would mean to wait for them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(main())
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    if code == 0:
        sys.exit()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
