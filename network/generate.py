"""python -m network.generate RUN --prompt TEXT: the command of network/generate_command.py, which nothing imports.

From Python the function `network.generate` is meant, of network/sampling.py.
"""

import sys

from network.generate_command import main

if __name__ == "__main__":
    sys.exit(main())
