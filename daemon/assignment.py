"""What an executor is told when it starts: its device, and the settings; one JSON argument."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from tally import config as settings
from tally.config import Config
from tally.errors import ConfigError

KINDS = ("cuda", "soft")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One device and how to drive it. What is below `config` is for tests."""

    kind: str  # one of KINDS
    index: int  # of the device, among those of its kind
    config: Config
    driver: str = ""  # path of the driver's library; empty: the usual one
    keeps: bool = True  # plans and rewritten code, in state_dir
    event_timing: bool = False  # launches are timed with events, also where the driver tells

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"there is no kind of device {self.kind!r}: use {' or '.join(KINDS)}")

    @property
    def soft(self) -> bool:
        """Whether the device is a software GPU."""
        return self.kind == "soft"

    @property
    def endpoint(self) -> str:
        """The socket of tallyd that the executor connects to."""
        return f"ipc://{self.config.runtime_dir}/executor-{self.index}.sock"

    def to_json(self) -> str:
        """The argument."""
        words = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps(words | {"config": settings.executor_values(self.config)})

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """Read the argument. ConfigError (one line) if it is none."""
        try:
            words = json.loads(text)
            return cls(**words | {"config": settings.from_values(words["config"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"not an executor's assignment: {error!r}") from None
