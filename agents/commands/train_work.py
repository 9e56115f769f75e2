"""How much work a run is: its phases, and what is said of it before it begins."""

from __future__ import annotations

import shlex
from pathlib import Path

from l2o_env.results.decimals import counted

from ..opponents import TUNED, default_opponents
from .phases import Phase, duration
from .train_options import Plan


def n_policies(plan: Plan) -> int:
    """How many are evaluated on each pair: the policy, tuned opponents, and hand-made ones."""
    tuned = sum(len(TUNED[search]) for search in plan.searches)
    return 1 + tuned + len(plan.opponents or default_opponents(plan.env, plan.args.seed))


def phases_of(plan: Plan, *, trained: bool) -> list[Phase]:
    """The phases of a run, one for each of its stages; their work is in optimizer updates.

    Args:
        plan: What the run does.
        trained: Whether an earlier process has trained the policy.
    """
    training = plan.episodes * plan.mean_budget + plan.checkpoints * plan.eval_seeds * plan.env.budget
    phases = [] if trained else [Phase("training", training)]
    tuning, evaluation = len(plan.searches) * plan.tuning_episodes, n_policies(plan) * plan.eval_seeds
    for _ in plan.eval_pairs:
        phases += [Phase("tuning", tuning * plan.env.budget)] if plan.searches else []
        phases += [Phase("evaluation", evaluation * plan.env.budget)]
    return phases


def outline(plan: Plan) -> str:
    """What a run is going to do, in lines of up to 80 characters."""
    pairs = counted(len(plan.eval_pairs), "pair")
    updates = round(plan.episodes * plan.mean_budget)
    if plan.ranges is None:
        each = f"{plan.env.budget:,} updates = {counted(updates, 'update')}"
        on = counted(len(plan.env.pairs), "pair")
    else:
        each = f"{_between(plan.ranges.budget)} updates, about {updates:,}"
        on = f"{plan.args.tasks} tasks"
    lines = [f"Training {plan.args.algo} on {on}: {counted(plan.episodes, 'episode')} × {each}."]
    if plan.searches:
        tuning = len(plan.searches) * plan.tuning_episodes * len(plan.eval_pairs)
        lines.append(f"Tuning {counted(len(plan.searches), 'opponent')} on {pairs}: {counted(tuning, 'episode')}.")
    policies = "1 policy" if n_policies(plan) == 1 else f"{n_policies(plan)} policies"
    episodes = n_policies(plan) * plan.eval_seeds * len(plan.eval_pairs)
    lines.append(f"Evaluating {policies} on {pairs}: {counted(episodes, 'episode')}.")
    return "\n".join(lines)


def estimate(phases: list[Phase], seconds: float) -> str:
    """How long a run takes, if all of it is as fast as its first updates.

    Args:
        phases: Those that are left.
        seconds: Of an update.
    """
    first, total = (duration(seconds * sum(each.work for each in some)) for some in (phases[:1], phases))
    each = f"{1000 * seconds:.2g} ms" if seconds < 1 else f"{seconds:.1f} s"
    return f"An update takes {each} here: about {first} for the training, {total} for all."


def next_steps(run: Path, *, finished: bool) -> str:
    """Where a run is, and what to do with it, line by line.

    Args:
        run: Its folder.
        finished: Whether it has come to its end.
    """
    folder = shlex.quote(str(run))
    commands = [f"l2o report {folder}", f"tensorboard --logdir {folder}/events"]
    commands += [f"l2o evaluate {folder}  # on pairs that it never saw"] if finished else []
    return "\n".join([f"The run is in {run}. To look at it, and to go on:", *(f"  {command}" for command in commands)])


def episodes_of(episodes: int, plan: Plan, updates: int) -> str:
    """How many episodes so many updates were, in words: those that diverge are shorter, and others follow them."""
    if plan.ranges is not None:
        return f"{counted(episodes, 'episode')} of {_between(plan.ranges.budget)}"
    budget = plan.env.budget
    if updates == episodes * budget:
        return f"{counted(episodes, 'episode')} of {budget}"
    more = ", and parts of others" if updates > episodes * budget else ""
    return f"{counted(episodes, 'episode')} of up to {budget}{more}"


def _between(limits: tuple[float, float]) -> str:
    return f"{limits[0]:,.0f} to {limits[1]:,.0f}"
