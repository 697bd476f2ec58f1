"""python -m verify.reduction"""

import sys

from verify.reduction.command import main

if __name__ == "__main__":
    sys.exit(main())
