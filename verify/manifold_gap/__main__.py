"""python -m verify.manifold_gap"""

import sys

from verify.manifold_gap.command import main

if __name__ == "__main__":
    sys.exit(main())
