"""python -m verify.ablation"""

import sys

from verify.ablation.command import main

if __name__ == "__main__":
    sys.exit(main())
