"""Tally: share one GPU between a latency-critical service and best-effort jobs."""

import os.path

__version__ = "0.1.0"

# The package is gathered from folders of the source tree; the one named `tally/` holds the command
# line alone. Python finds that folder first when it starts in a checkout (`python -m tally...`):
# an installed Tally then serves all modules, as elsewhere. (An editable one names all folders.)
if len(__path__) == 1 and not os.path.isdir(os.path.join(os.path.dirname(__file__), "client")):
    from pkgutil import extend_path

    _found = extend_path(__path__, __name__)
    __path__ = [*_found[1:], _found[0]]
