"""The policy in force on every executor, also on those that come later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .executor_process import ExecutorProcess, ExecutorUnavailableError

ANSWER_SECONDS_MAX = 3.0  # less than the time that clients wait for an answer


class Policy:
    """One name for all executors. Those that start know only the configured one."""

    def __init__(self, configured: str, executors: Sequence[ExecutorProcess]):
        self.name = configured
        self._configured = configured
        self._executors = executors

    async def switch(self, name: str) -> None:
        """Another policy, now and later. ExecutorUnavailableError if one does not take it."""
        self.name = name
        await asyncio.gather(*(_switch(executor, name) for executor in self._executors))

    def executor_ready(self, index: int) -> None:
        """A process that has started hears of a switch before it."""
        if self.name != self._configured:
            self._executors[index].tell("policy", policy=self.name)


async def _switch(executor: ExecutorProcess, name: str) -> None:
    """On a running executor; one that is not ready is told when it is."""
    if executor.state != "ready":
        return
    try:
        await executor.request("policy", policy=name, timeout_s=ANSWER_SECONDS_MAX)
    except ExecutorUnavailableError as error:
        if executor.state != "ready":
            return  # it died meanwhile
        text = f"device {executor.index}: {error}"
    except TimeoutError:
        text = f"device {executor.index}: the executor does not answer"
    else:
        return
    raise ExecutorUnavailableError(text)
