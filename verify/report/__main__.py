"""python -m verify.report"""

import sys

from verify.report.command import main

if __name__ == "__main__":
    sys.exit(main())
