"""Loads Tier0's plugin from the checkout, pytester, and the plugin that ends what a killed run leaves."""

import os

from tier0.core.child_environment import NO_TELEMETRY

os.environ.update(NO_TELEMETRY)  # some tests import MLflow and BentoML themselves
pytest_plugins = ["tier0.pytest_plugin", "pytester", "tests.support.process_sweep"]
