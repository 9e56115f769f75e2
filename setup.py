"""Names of what is installed; everything else stands in pyproject.toml.

The folder ``agents`` is installed as ``l2o_agents``, because `agents` is what other packages are called, too.
"""

from setuptools import find_packages, setup

agents = ["l2o_" + name for name in find_packages(include=["agents*"])]
setup(packages=[*find_packages(include=["l2o_env*"]), *agents], package_dir={"l2o_agents": "agents"})
