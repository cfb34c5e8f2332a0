"""The scheduling policies. Written by `python -m tally.interpose generate`.

A copy of the scheduler's table, as settings load without native code.
"""

POLICIES: dict[str, str] = {
    "tally": "high goes at once; best-effort fills the gaps and stops within the turnaround bound",
    "kernel": "like tally, but best-effort kernels run whole: they give way when they end",
    "timeslice": "every session in turn has the whole device for a fixed time",
    "priority": "no scheduling: everything goes at once, high on a high-priority stream",
    "fifo": "no scheduling: everything goes at once, at one priority",
}
