"""What docs/distributed.md says to type on a cluster: valid by the schemas of its readers, and run with stand-ins."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import ROOT, blocks

DOCUMENT = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
COMMANDS = {
    "scontrol": 'printf "node1\\nnode2\\nnode3\\nnode4\\n"',
    "srun": '"$@"',
    "ray": 'echo "ray $*" >> typed; while [ "$1" != -- ]; do shift; done; shift; "$@"',
    "l2o": (
        'echo "l2o $*" >> typed; mkdir -p run; echo {} > run/config.json; '
        "[ $4 != --resume ] || echo '\"finished\"' > run/results.json"
    ),
}
"""Stand-ins for what a SLURM job calls."""


_blocks = partial(blocks, DOCUMENT)


def _with(field: str) -> dict[str, Any]:
    """The YAML file of the document that has a field."""
    return next(content for text in _blocks("yaml") if field in (content := yaml.safe_load(text)))


def test_rays_launcher_takes_its_file() -> None:
    pytest.importorskip("jsonschema")
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.prepare_config(_with("cluster_name"))
    util.validate_config(config)
    assert config["available_node_types"]["worker"]["min_workers"] == config["max_workers"]


def test_the_kubernetes_job_has_what_its_definition_requires() -> None:
    job = _with("kind")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert {"template"} <= cluster["headGroupSpec"].keys()
    for group in cluster["workerGroupSpecs"]:
        assert {"groupName", "minReplicas", "maxReplicas", "template"} <= group.keys()
        cores = group["minReplicas"] * group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
        assert f"--workers {cores}" in job["spec"]["entrypoint"]  # all of them


def test_a_slurm_job_starts_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    (script,) = (text for text in _blocks("bash") if "#SBATCH" in text)
    for name, body in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    job = {"SLURM_JOB_NODELIST": "node[1-4]", "SLURM_NNODES": "4", "SLURM_CPUS_PER_TASK": "32"}
    environment = {**os.environ, **job, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for finished in (False, True):
        ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert (ended.returncode == 0) is finished
    started, first, again, second = (tmp_path / "typed").read_text().splitlines()
    assert started == (
        "ray symmetric-run --address node1:6379 --min-nodes 4 --num-cpus 32 -- "
        "l2o train --ray node1:6379 --out run --workers 128"
    )
    assert first == "l2o train --ray node1:6379 --out run --workers 128"
    assert (again.startswith("ray symmetric-run"), second) == (True, "l2o train --ray node1:6379 --resume run")
