"""python -m verify.corpus"""

import sys

from verify.corpus.command import main

if __name__ == "__main__":
    sys.exit(main())
