"""Trains every algorithm with several seeds on equal budgets, and prints a table with intervals.

With the default settings, some of which docs/algorithms.md explains::

    python examples/compare_algorithms.py --out runs/compare --seeds 5

Each algorithm gets the same number of optimizer updates (episodes x budget) per training seed. All policies are
evaluated on the same episodes, beside random rates and the best uniform constant of a grid search with as many episodes
as one policy was trained with. It goes on where it was cut off: policies that are in the folder are not trained again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import l2o_agents
import numpy as np
import pandas as pd
import tyro
from l2o_agents.algorithms import ALGORITHMS, find
from l2o_agents.opponents import RandomRates, tune_uniform
from rich.console import Console
from rich.progress import Progress
from scipy.stats import t
from tyro.conf import arg

from l2o_env import AgentLike, EnvConfig, Syn2RealVectorEnv, episode_seeds, evaluate
from l2o_env.cluster import Tasks

DEFAULT = ("reinforce", "ppo", "a2c", "sac", "td3", "tqc", "recurrent_ppo", "trpo", "ars")


@dataclass(frozen=True)
class Args:
    """Settings; the command line is this dataclass."""

    out: Path = Path("runs/compare")
    """Folder of the policies and of the table."""
    algos: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = DEFAULT
    """Algorithms to compare; those that do not take the action form `log` get `discrete`."""
    pairs: tuple[str, ...] = ("glyphs-digits",)
    """Pairs to train on."""
    eval_pairs: tuple[str, ...] = ("glyphs-digits", "glyphs-serif")
    """Pairs to evaluate on."""
    seeds: int = 5
    """Training seeds of each algorithm."""
    episodes: int = 640
    """Episodes of one training."""
    num_envs: int = 16
    """Fine-tuning runs that train side by side."""
    eval_seeds: int = 16
    """Episodes of each policy on each pair."""
    budget: int = EnvConfig.budget
    """Optimizer updates of an episode."""
    window: int = EnvConfig.window
    """Optimizer updates between two actions."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    ray: str | None = None
    """Ray cluster whose tasks the trainings are: an address or auto; without one, they run here, one by one."""

    def env(self, algo: str) -> EnvConfig:
        """The environment that an algorithm trains in."""
        found = find(algo)
        return EnvConfig(
            pairs=self.pairs,
            budget=self.budget,
            window=self.window,
            action="log" if "log" in found.forms else "discrete",
            common_random_numbers=found.common_random_numbers,
            device=self.device,
        )


def main(args: Args) -> pd.DataFrame:
    """Trains what is missing, evaluates everything and prints the table.

    Returns:
        One row per algorithm and pair, as printed.
    """
    for algo in args.algos:
        find(algo)
    _write(args.out / "config.json", json.dumps(asdict(args), default=str, indent=2))
    with Progress(console=Console(stderr=True)) as progress:
        if args.ray is not None:
            _train_on(Tasks(args.ray), args, progress)
        updates = {algo: [_train(args, algo, seed, progress) for seed in range(args.seeds)] for algo in args.algos}
        frame = pd.concat([_evaluate(args, pair, progress) for pair in args.eval_pairs], ignore_index=True)
    frame.to_csv(args.out / "results.csv", index=False)
    table = summarise(frame, updates)
    print(to_markdown(table))
    _write(args.out / "table.md", to_markdown(table) + "\n")
    return table


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)  # nobody ever sees half a file


def _train_on(tasks: Tasks, args: Args, progress: Progress) -> None:
    """Trains what is missing side by side on a cluster, whose nodes share no files with this machine."""
    missing = [f"{algo}-{seed}" for algo in args.algos for seed in range(args.seeds)]
    missing = [name for name in missing if not (args.out / "policies" / name / "updates.json").exists()]
    task = progress.add_task("Trainings", total=len(missing))
    for k, files in tasks.run([partial(_trained_files, args, name) for name in missing], args.pairs):
        for path, content in sorted(files.items(), key=lambda file: file[0] == "updates.json"):
            target = args.out / "policies" / missing[k] / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        progress.advance(task)


def _trained_files(args: Args, name: str) -> dict[str, bytes]:
    """Trains a policy in a task; what it leaves, by name."""
    algo, _, seed = name.rpartition("-")
    with TemporaryDirectory() as out, Progress(disable=True) as progress:
        _train(replace(args, out=Path(out)), algo, int(seed), progress)
        folder = Path(out) / "policies" / name
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _train(args: Args, algo: str, seed: int, progress: Progress) -> int:
    """Optimizer updates that one training took; it is skipped if its policy is there."""
    folder = args.out / "policies" / f"{algo}-{seed}"
    if (folder / "updates.json").exists():
        return int(json.loads((folder / "updates.json").read_text()))
    env = args.env(algo)
    venv = Syn2RealVectorEnv(args.num_envs, **asdict(env))
    venv.reset(seed=episode_seeds(seed, "training", args.num_envs))
    agent = l2o_agents.make_learner(algo, env, n_layers=len(venv.layer_names), seed=episode_seeds(seed, "policy", 1)[0])
    task = progress.add_task(f"{algo}, seed {seed}", total=args.episodes)
    agent.learn(
        venv,
        args.episodes,
        pairs=env.pairs,
        callback=lambda record: progress.update(task, completed=record["episode"]),
    )
    agent.save(folder)
    _write(folder / "updates.json", str(venv.episodes.updates_made))  # last: the policy is complete
    return venv.episodes.updates_made


def _evaluate(args: Args, pair: str, progress: Progress) -> pd.DataFrame:
    """Every policy and both opponents on a pair, with columns ``algorithm`` and ``training_seed``."""
    env = replace(args.env("reinforce"), pairs=(pair,))
    task = progress.add_task(f"Opponents and policies on {pair}", total=None)

    def show(done: int, total: int, text: str) -> None:
        progress.update(task, completed=done, total=total, description=text)

    constant, _, _ = tune_uniform(env, pair, args.episodes, 0, show)
    groups: dict[str, list[tuple[str, int]]] = {}
    for algo in args.algos:
        groups.setdefault(args.env(algo).action, []).extend((algo, seed) for seed in range(args.seeds))
    frames = []
    for action, members in groups.items():
        found: dict[str, AgentLike] = {
            f"{a}-{s}": l2o_agents.load(args.out / "policies" / f"{a}-{s}") for a, s in members
        }
        if action == "log":
            found |= {"random": RandomRates(), "best-constant": constant}
        settings = replace(env, action=action)  # type: ignore[arg-type]
        frames.append(evaluate(found, [pair], args.eval_seeds, settings, progress=show))
    frame = pd.concat(frames, ignore_index=True)
    learned = frame["policy"].str.extract(r"^(.*)-(\d+)$")
    frame["algorithm"] = learned[0].where(learned[0].isin(ALGORITHMS), frame["policy"])
    frame["training_seed"] = pd.to_numeric(learned[1]).fillna(0).astype(int)
    return frame


def summarise(frame: pd.DataFrame, updates: dict[str, list[int]]) -> pd.DataFrame:
    """Mean over training seeds with its 95 % interval (Student's t), of each algorithm on each pair.

    An opponent has no training seed; its interval is over the evaluated episodes.

    Args:
        frame: One row per algorithm, training seed, pair and evaluated episode.
        updates: Optimizer updates of each training, by algorithm.
    """
    rows = []
    for (pair, algo), group in frame.groupby(["pair", "algorithm"], sort=False):
        unit = "training_seed" if algo in updates else "seed"
        means = group.groupby(unit)[["v_end", "real_accuracy"]].mean()
        n = len(means)
        half = t.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n) if n > 1 else means.mean() * np.nan
        rows.append({
            "pair": pair,
            "algorithm": algo,
            "n": n,
            "updates": int(np.mean(updates[algo])) if algo in updates else 0,
            "v_end": means["v_end"].mean(),
            "v_end_ci": half["v_end"],
            "real_accuracy": means["real_accuracy"].mean(),
            "real_accuracy_ci": half["real_accuracy"],
            "diverged": int(group["diverged"].sum()),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(["pair", "v_end"], ascending=[True, False], ignore_index=True)


def to_markdown(table: pd.DataFrame) -> str:
    """The table as Markdown; what an interval is over is in column n."""
    lines = [
        "| pair | algorithm | n | updates per training | V | real accuracy | diverged |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        cells = [f"{row[key]:.3f} ± {row[f'{key}_ci']:.3f}" for key in ("v_end", "real_accuracy")]
        n = f"{row['n']} {'training' if row['updates'] else 'evaluation'} seeds"
        updates = f"{row['updates']:,}" if row["updates"] else "-"
        lines.append(
            f"| {row['pair']} | {row['algorithm']} | {n} | {updates} | {' | '.join(cells)} | {row['diverged']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
