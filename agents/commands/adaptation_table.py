"""The second table of ASG's slides on any pair: ``l2o table PAIR --adaptation``."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from l2o_env import pairs as pair_registry
from l2o_env.adaptation import (
    METHODS,
    Adaptation,
    AdaptConfig,
    LabelledImages,
    TargetOracle,
    UnlabelledImages,
    information_maximisation,
    predictions,
)
from l2o_env.config import resolve_device
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.intervals import mean_and_half_width, plus_minus
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.models.base import new_generator
from l2o_env.pairs.spec import parse
from l2o_env.results.kept_parts import KeptParts
from l2o_env.results.run_folder import RunFolder

from ..options import override, parse_assignments
from .adapt_rates import drive
from .adaptation_rows import PUBLISHED, SELECTIONS, SLIDES, AdaptationFinding, check_claims
from .cells import kept_arguments
from .console import Reporter
from .contestants import agent_digest
from .initialisations import INITIALISATIONS, fine_tuned
from .paper_rows import BY_KEY
from .paper_table import Measured, TableArgs, prepare_rows
from .printed_tables import PUBLISHED_ON, metric_note

if TYPE_CHECKING:
    import pandas as pd


def adaptation_table(args: TableArgs, reporter: Reporter) -> int:
    """Adapts from each initialisation by each method, all on the same seeds, and prints what came of it.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    if args.ray is not None:
        raise ConfigError("--adaptation runs in this process; leave out --ray.")
    methods, starts = args.methods or SLIDES, args.starts or tuple(INITIALISATIONS)
    for method in methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)
    for start in starts:
        if start not in INITIALISATIONS:
            raise unknown_name("initialisation", start, INITIALISATIONS)
    config = override(AdaptConfig(device=args.device), parse_assignments(args.hp, example="portion=0.5"))
    with KeptParts.opened(args.out, kept_arguments("table --adaptation", args)) as kept:
        measured = _measure(args, methods, starts, config, reporter, kept)
        frame = measured.frame
        headings, rows = cells(args.pair, frame)
        lines = claim_lines(check_claims(frame))
        reporter.out.print(_printed(args.pair, headings, rows, int(frame["seed"].nunique())))
        for line in lines:
            reporter.out.print(line, markup=False)
        reporter.say(measured.origin)
        if kept.folder is not None:
            _write(kept.folder, args, measured, headings, rows, lines)
    return 0


def _measure(
    args: TableArgs,
    methods: Sequence[str],
    starts: Sequence[str],
    config: AdaptConfig,
    reporter: Reporter,
    kept: KeptParts,
) -> Measured:
    """One line per method, initialisation and seed, and the learned policy."""
    import pandas as pd

    device = resolve_device(config.device)
    pair = pair_registry.make(args.pair)
    source, target = LabelledImages(pair.train, device), UnlabelledImages.of(pair, device)
    oracle = TargetOracle(pair, device)
    check = pair.make_model(new_generator(0)).to(device)
    for method in methods:  # what cannot work on the network is told before a policy is trained
        Adaptation(METHODS[method], deepcopy(check), source, target, pair.n_classes, config, 0)
    env, agents, origin = prepare_rows(args, [BY_KEY[INITIALISATIONS[start][0]] for start in starts], reporter, kept)
    seeds = episode_seeds(args.seed, "evaluation", args.seeds)
    by_start = {start: variants(methods, args.learned and start == "asg") for start in starts}
    n_runs = sum(map(len, by_start.values())) * len(seeds)
    of_policy = "" if agents.policy is None else agent_digest(agents.policy)
    images, frames = pair_digest(pair), []
    done = 0
    with reporter.stage(f"Adapting on {pair_registry.label(args.pair)}", n_runs, "runs", lines=20) as update:

        def adapted(start: str) -> pd.DataFrame:
            networks = fine_tuned(agents.of(BY_KEY[INITIALISATIONS[start][0]]), args.pair, env, seeds)
            lines: list[dict[str, Any]] = []
            for seed, network in zip(seeds, networks, strict=True):
                before = oracle.accuracy(predictions(network.to(device), target))
                for method, driven in by_start[start]:
                    model = deepcopy(network).to(device)
                    run = Adaptation(METHODS[method], model, source, target, pair.n_classes, config, seed)
                    if driven:
                        assert agents.policy is not None
                        drive(run, agents.policy)
                    label = f"{method}, learned rates" if driven else method
                    line = {"method": label, "start": start, "seed": seed, "before": before}
                    lines.append({**line, **_run(run, oracle)})
                    update(done + len(lines), f"{label} from {start}")
            return pd.DataFrame(lines)

        for start in starts:
            policy = of_policy if start == "asg" else ""
            frames.append(kept.table({"start": start, "images": images, "policy": policy}, partial(adapted, start)))
            done += len(frames[-1])
    return Measured(pd.concat(frames, ignore_index=True), agents.policy, origin)


def variants(methods: Sequence[str], learned: bool) -> list[tuple[str, bool]]:
    """Methods, and whether learned rates drive them: each as it is, then, if asked for, those that can be driven."""
    plain = [(method, False) for method in methods]
    return plain + [(method, True) for method in methods if learned and METHODS[method].joint]


def _run(run: Adaptation, oracle: TargetOracle) -> dict[str, Any]:
    """Accuracies of a run by how its round is chosen."""
    accuracies, information = [], []
    for _ in range(run.config.rounds):
        found = run.run_round()
        accuracies.append(oracle.accuracy(found.probabilities))
        information.append(float(information_maximisation(found.probabilities)))
        if found.diverged:
            break
    chosen = max(range(len(information)), key=information.__getitem__)
    return {
        "last": accuracies[-1],
        "information_maximisation": accuracies[chosen],
        "target_oracle": max(accuracies),
        "diverged": run.diverged,
    }


def cells(pair: str, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table, accuracies in per cent; published figures on the pair that they are of."""
    published = parse(pair)[0] == PUBLISHED_ON
    headings = ["start", "method", *SELECTIONS.values(), "diverged", *(["published: VisDA-17"] if published else [])]
    rows = []
    for start, of_start in frame.groupby("start", sort=False):
        alone = of_start.drop_duplicates("seed")
        rows.append([str(start), "(start)", _percent(alone["before"]), "", "", ""])
        keys = [("start", str(start))]
        for method, lines in of_start.groupby("method", sort=False):
            diverged = f"{int(lines['diverged'].sum())}/{len(lines)}"
            rows.append(["", str(method), *(_percent(lines[key]) for key in SELECTIONS), diverged])
            keys.append((str(method), str(start)))
        if published:
            for row, key in zip(rows[-len(keys) :], keys, strict=True):
                row.append(PUBLISHED.get(key, "-"))
    return headings, rows


def claim_lines(findings: Sequence[AdaptationFinding]) -> list[str]:
    """What the slides claim, line by line, and how it came out here, in the last round."""
    return [
        f"{claim.text}: {result} ({plus_minus(100 * difference, 100 * half_width, 1, sign='+')} points)"
        for claim, difference, half_width, result in findings
    ]


def _percent(values: Any) -> str:
    mean, half_width = mean_and_half_width(100 * values.to_numpy(float))
    return plus_minus(mean, half_width, 1)


def _printed(pair: str, headings: Sequence[str], rows: Sequence[Sequence[str]], n_seeds: int) -> Any:
    from rich.table import Table

    title = f"{pair_registry.label(pair)}: real accuracy in %, mean ± 95 % confidence interval over {n_seeds} seeds"
    table = Table(title=title, caption=metric_note([pair]) or None)
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="left" if k < 2 else "right")
    for row in rows:
        if row[0]:
            table.add_section()
        table.add_row(*row)
    return table


def _write(
    folder: RunFolder,
    args: TableArgs,
    measured: Measured,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    claims: Sequence[str],
) -> None:
    with folder.writing("adaptation.csv") as path:
        measured.frame.to_csv(path, index=False)
    lines = [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]
    folder.write_text(
        "adaptation.md", "\n".join([*lines, "", *(f"- {line}" for line in claims), "", measured.origin, ""])
    )
    folder.write_json("adaptation.json", {"arguments": asdict(args), "policy": measured.origin, "claims": list(claims)})
