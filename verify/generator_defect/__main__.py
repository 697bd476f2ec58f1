"""python -m verify.generator_defect"""

import sys

from verify.generator_defect.command import main

if __name__ == "__main__":
    sys.exit(main())
