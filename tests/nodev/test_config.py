"""Settings: where they come from, which win, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tally import config, reference
from tally._native import ffi
from tally.errors import ConfigError
from tally.fixed_limits import FIXED
from tally.policies import POLICIES
from tally.scheduler.limits import Limits
from tally.scheduler.policies import policies


def write(folder: Path, text: str) -> Path:
    path = folder / "tally.toml"
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(
        tmp_path, 'device = "soft:2"\nsessions_max = 5\nsoft_dry = true\npolicy = "fifo"\n'
    )
    environ = {"TALLY_SESSIONS_MAX": "6", "TALLY_POLICY": "kernel"}
    loaded = config.load(environ, file, {"policy": "timeslice"})
    assert loaded.device == "soft:2"
    assert loaded.sessions_max == 6
    assert loaded.soft_dry is True
    assert loaded.policy == "timeslice"
    assert loaded.jobs_kept_max == config.Config().jobs_kept_max


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("devcie = 'soft'", 'unknown setting "devcie"; did you mean "device"?'),
        ("zzz = 1", 'unknown setting "zzz"; valid are device,'),
        ("policy = 'tallyy'", 'timeslice, priority, fifo; did you mean "tally"?'),
        ("device = 'soft:99'", "use auto, cuda, soft or soft:N"),
        ("sessions_max = 'many'", "sessions_max: expected an integer, got 'many'"),
        ("sessions_max = true", "sessions_max: expected an integer, got True"),
        ("sessions_max = 0", "use a number from 1 to 65536"),
        ("turnaround_us_max = nan", "use a number from"),
        ("metrics_address = 'here'", "use HOST:PORT"),
        ("runtime_dir = 'relative'", "use an absolute path"),
        (f"runtime_dir = '/{'x' * 80}'", "choose a shorter one"),
        ("device = ", "not valid TOML"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({}, write(tmp_path, text + "\n"))
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
        config.load({}, tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load({}, tmp_path)


def test_environment_typos() -> None:
    with pytest.raises(ConfigError, match='"TALLY_DEVCE"; did you mean "TALLY_DEVICE"'):
        config.load({"TALLY_DEVCE": "soft"})
    with pytest.raises(ConfigError, match='TALLY_SOFT_WORKERS: "x" is not an integer'):
        config.load({"TALLY_SOFT_WORKERS": "x"})
    config.load({"TALLY_JOB": "1-abcd", "TALLY_HOUSE_NAME": "of another program"})


@pytest.mark.parametrize(
    ("text", "kind", "count"), [("auto", "auto", 1), ("cuda", "cuda", 1), ("soft:3", "soft", 3)]
)
def test_device(text: str, kind: str, count: int) -> None:
    assert config.parse_device(text) == config.DeviceChoice(kind, count)


@pytest.mark.parametrize("text", ["", "soft:0", "soft:17", "cuda:1", "soft:1x", "SOFT", "soft:\n1"])
def test_device_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="use auto"):
        config.parse_device(text)


def test_default_file(tmp_path: Path) -> None:
    assert config.default_file({"TALLY_CONFIG": "/named"}) == Path("/named")
    mine = tmp_path / "tally" / "tally.toml"
    mine.parent.mkdir()
    mine.touch()
    assert config.default_file({"XDG_CONFIG_HOME": str(tmp_path)}) == mine


def test_policies_are_the_cores() -> None:
    assert policies() == POLICIES


def test_every_setting_has_help_and_a_sound_default() -> None:
    config.Config()
    for name, field in config.FIELDS.items():
        assert field.metadata["help"].endswith("."), name
        assert config.kind(name) in ("text", "path", "integer", "number", "true/false")


# Bounds that Tally keeps for others' sake, which nobody meets.
PROMISES = {"turnaround_us_max", "stops_percent_max"}


def test_every_limit_says_what_happens_where_it_is_met() -> None:
    limits = {name for name in config.FIELDS if name.endswith("_max")} - PROMISES
    said = {name for name, field in config.FIELDS.items() if field.metadata["met"]}
    assert said == limits
    for name in said:
        assert config.FIELDS[name].metadata["met"].endswith("."), name


def test_limits_that_are_no_settings_are_in_the_sources() -> None:
    shown = {one.name: one.shown() for one in FIXED}
    assert shown["OUTPUT_BYTES_MAX"] == "1 MiB"
    assert shown["CONTROL_BYTES_MAX"] == "64 KiB"
    assert shown["SHIM_CONTEXTS_MAX"] == "4096"


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_fresh(name: str) -> None:
    """`make docs` writes them. Only the words count: click's line breaks vary."""
    page = Path(__file__).parents[2] / "docs" / name
    assert page.read_text().split() == reference.PAGES[name]().split()


def test_limits_are_the_schedulers() -> None:
    """Each setting with a limit names a member, and has its default: tally.config cannot ask."""
    values = {name: config.default_of(name) for name in config.LIMITS}
    del values["turnaround_us_max"]  # 0 is what suits the device
    limits = config.limits_of(values)
    assert len(limits) == len(values)
    assert limits == {name: getattr(Limits.default(), name) for name in limits}
    assert hasattr(Limits.default(), config.LIMITS["turnaround_us_max"][0])


def test_engine_settings_are_the_engines() -> None:
    native = ffi.new("struct tally_engine_config *")
    for name in config.engine_values(config.Config()):
        assert hasattr(native, name)


def test_what_executors_are_told_comes_back(tmp_path: Path) -> None:
    given = config.Config(device="soft:2", state_dir=tmp_path, watchdog_times=7, jobs_kept_max=3)
    values = config.executor_values(given)
    assert "jobs_kept_max" not in values and "device" not in values
    read = config.from_values(values)
    assert config.executor_values(read) == values
    assert (read.state_dir, read.watchdog_times) == (tmp_path, 7)
