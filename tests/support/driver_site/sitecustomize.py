"""On PYTHONPATH of a tallyd's processes: their softgpu is the library that SOFTGPU_DRIVER names."""

import os
from pathlib import Path

from tally.client import paths

paths.softgpu_library = lambda: Path(os.environ["SOFTGPU_DRIVER"])
