"""The control API of tallyd for Python programs.

import tally.client

with tally.client.connect() as client:
    for job in client.jobs():
        print(job.name, job.state)
"""

from .api import Client, connect
from .records import JobRecord

__all__ = ["Client", "JobRecord", "connect"]
