"""Loads the plugin from the checkout (where the package is installed, its entry point is the same plugin), and pytester."""

import os

from tier0.core.child_environment import NO_TELEMETRY

os.environ.update(NO_TELEMETRY)  # some tests import MLflow and BentoML themselves
pytest_plugins = ["tier0.pytest_plugin", "pytester"]
