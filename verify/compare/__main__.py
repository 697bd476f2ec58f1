"""python -m verify.compare"""

import sys

from verify.compare.command import main

if __name__ == "__main__":
    sys.exit(main())
