"""`python -m mesomer`, the same as `mesomer`; what torchrun starts."""

import sys

from mesomer.cli import main

if __name__ == "__main__":
    sys.exit(main())
