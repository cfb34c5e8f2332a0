"""On PYTHONPATH of a restless device's processes: their softgpu is RESTLESS_DRIVER."""

import os
from pathlib import Path

from tally.client import paths

paths.softgpu_library = lambda: Path(os.environ["RESTLESS_DRIVER"])
