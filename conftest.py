"""Loads Tier0's plugin from the checkout, pytester, and the plugin that ends what a killed run leaves."""

import os

from tier0.core.child_environment import NO_TELEMETRY
from tier0.core.openmp import wait_passively

os.environ.update(NO_TELEMETRY)  # some tests import MLflow and BentoML themselves
wait_passively()  # tests run beside each other
pytest_plugins = ["tier0.pytest_plugin", "pytester", "tests.support.process_sweep"]
