"""The parts of an evaluation: one agent on one pair in one mode, and the folder that the finished ones are kept in."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.atomic import atomic_path
from l2o_env.episodes import n_steps
from l2o_env.errors import ConfigError
from l2o_env.evaluation.contestant import Contestant, Mode
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress
from l2o_env.results.record import recording
from l2o_env.results.run_folder import RECORDING
from l2o_env.results.tables import read_signed, write_signed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Part:
    """One agent on one pair in one mode, on seeds that are those of all parts.

    Two parts that differ in what the agent is called, not in what it is, have one name and share what is kept.
    """

    contestant: Contestant
    pair: str
    mode: Mode
    images: str
    """What tells the pair's images and proxy from any others'; see :func:`l2o_env.evaluation.resumable.pair_digest`."""
    n_seeds: int
    seed: int

    @cached_property
    def settings(self) -> str:
        """All that the results depend on."""
        config = asdict(replace(self.contestant.config, pairs=(self.pair,), common_random_numbers=False))
        del config["ray"], config["gpus_per_worker"]  # nothing that depends on these
        agent, mode, pair, images = self.contestant.digest, self.mode, self.pair, self.images
        settings = {"agent": agent, "mode": mode, "pair": pair, "images": images, "n_seeds": self.n_seeds}
        settings |= {"seed": self.seed, "config": config, "version": l2o_env.__version__, "format": 2}
        return json.dumps(settings, sort_keys=True)

    @cached_property
    def name(self) -> str:
        """Of its files."""
        return hashlib.sha256(self.settings.encode()).hexdigest()[:20]

    @property
    def n_steps(self) -> int:
        """Steps that it takes, unless episodes diverge."""
        n_populations = -(-self.n_seeds // MAX_OPTIMIZEES)
        return n_steps(self.contestant.config, pair_registry.make(self.pair)) * n_populations


class Store:
    """The folder of the finished parts: of each its results, and the recording of its steps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def recording_of(self, part: Part) -> Path:
        """The recording of a part."""
        return self._folder / f"{part.name}.{RECORDING}"

    def results_of(self, part: Part) -> Path:
        """Its results, with the settings that they depend on."""
        return self._folder / f"{part.name}.parquet"

    def run(self, part: Part, progress: Progress | None) -> None:
        """Runs a part and writes it; its results last, because they say that it is finished."""
        contestant = part.contestant
        names = pair_registry.make(part.pair).layout.group_names
        started = time.perf_counter()
        with recording(self.recording_of(part), {part.pair: names}) as recorder:
            frame = evaluate(
                {contestant.policy: contestant.load()},
                [part.pair],
                part.n_seeds,
                contestant.config,
                seed=part.seed,
                deterministic=part.mode == "deterministic",
                per_class=True,
                progress=progress,
                on_step=recorder,
            )
        frame["wall_time"] = (time.perf_counter() - started) / part.n_seeds
        recorded = _digest_of(self.recording_of(part))
        with atomic_path(self.results_of(part)) as path:
            frame = frame.drop(columns=["policy", "pair"])
            write_signed(frame, path, settings=part.settings, recording=recorded)

    def write(self, part: Part, files: tuple[bytes, bytes]) -> None:
        """Writes a part that was run elsewhere: its recording, and then its results."""
        for path, content in zip((self.recording_of(part), self.results_of(part)), files, strict=True):
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)

    def read(self, part: Part) -> pd.DataFrame | None:
        """The results of a part; None if there are none, or if they or the recording are not as they were written."""
        try:
            recorded = _digest_of(self.recording_of(part))
        except OSError:
            return None
        return read_signed(self.results_of(part), settings=part.settings, recording=recorded)

    def read_finished(self, part: Part) -> pd.DataFrame:
        """The results of a part that is there.

        Raises:
            ConfigError: If it is not, because somebody else changed the folder.
        """
        frame = self.read(part)
        if frame is None:
            raise ConfigError(f"The part {part.name} in {self._folder} changed while it was read; evaluate again.")
        return frame


def _digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
