"""`python -m sdf_format.cli`: the command `sdf`."""

import sys

from sdf_format.cli.main import main

sys.exit(main())
