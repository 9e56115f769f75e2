"""The second table of ASG's slides on any pair: ``l2o table PAIR --adaptation``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from l2o_env import pairs as pair_registry
from l2o_env.adaptation import METHODS, AdaptConfig
from l2o_env.cluster.tasks import Tasks
from l2o_env.errors import unknown_name
from l2o_env.evaluation.intervals import mean_and_half_width, plus_minus
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.evaluation.rollout import episode_seeds
from l2o_env.pairs.spec import parse
from l2o_env.results.kept_parts import KeptParts
from l2o_env.results.run_folder import RunFolder

from ..options import device_of, override, parse_assignments, tasks_of
from .adaptation_cells import Cell, images_of, variants
from .adaptation_rows import PUBLISHED, SELECTIONS, SLIDES, AdaptationFinding, check_claims
from .cells import kept_arguments, on_cluster
from .console import Reporter, Update
from .initialisations import INITIALISATIONS
from .paper_rows import BY_KEY
from .paper_table import Measured, TableArgs, digest_of_learned, prepare_rows
from .printed_tables import PUBLISHED_ON, metric_note

if TYPE_CHECKING:
    import pandas as pd


def adaptation_table(args: TableArgs, reporter: Reporter) -> int:
    """Adapts from each initialisation by each method, all on the same seeds, and prints what came of it.

    Raises:
        ConfigError: If a setting cannot work.
        WriteError: If the folder cannot be written to.
    """
    methods, starts = args.methods or SLIDES, args.starts or tuple(INITIALISATIONS)
    for method in methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)
    for start in starts:
        if start not in INITIALISATIONS:
            raise unknown_name("initialisation", start, INITIALISATIONS)
    tasks = tasks_of(args.ray, args.gpus_per_worker)
    device = device_of(args.device, args.gpus_per_worker)
    config = override(AdaptConfig(device=device), parse_assignments(args.hp, example="portion=0.5"))
    with KeptParts.opened(args.out, kept_arguments("table --adaptation", args)) as kept:
        measured = _measure(args, methods, starts, config, reporter, kept, tasks)
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
    tasks: Tasks | None,
) -> Measured:
    """One line per method, initialisation and seed, and the learned policy."""
    import pandas as pd

    pair = pair_registry.make(args.pair)
    images_of(pair, methods, config if tasks is None else replace(config, device="cpu"))
    env, agents, origin = prepare_rows(args, [BY_KEY[INITIALISATIONS[start][0]] for start in starts], reporter, kept)
    seeds = tuple(episode_seeds(args.seed, "evaluation", args.seeds))
    of_policy = digest_of_learned(agents)
    digest, parts, done = pair_digest(pair), [], 0
    all_variants = [variants(methods, args.learned and start == "asg") for start in starts]
    n_runs = sum(map(len, all_variants)) * len(seeds)
    with reporter.stage(f"Adapting on {pair_registry.label(args.pair)}", n_runs, "runs", lines=20) as update:
        run = on_cluster(tasks, [args.pair], update)
        for start, of_start in zip(starts, all_variants, strict=True):
            agent = agents.of(BY_KEY[INITIALISATIONS[start][0]])
            cell = Cell(args.pair, start, agent, env, tuple(of_start), agents.learned, config, seeds)
            made = partial(cell.run, None if run else _runs_from(update, done))
            done += len(of_start) * len(seeds)
            parts.append(({"start": start, "images": digest, "policy": of_policy if start == "asg" else ""}, made))
        frames = kept.tables(parts, run)
    return Measured(pd.concat(frames, ignore_index=True), agents.policy, origin)


def _runs_from(update: Update, before: int) -> Callable[[int, str], None]:
    """Tells a stage of the runs of a cell, beside those of the cells before it."""
    return lambda done, text: update(before + done, text)


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
