"""Training pipeline: data, quality, cohort, selection, training, analysis, and logging to MLflow."""
