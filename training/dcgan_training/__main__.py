"""The command `dcgan-train`, as `python -m dcgan_training`."""

import sys

from dcgan_training.cli import main

if __name__ == "__main__":
    sys.exit(main())
