"""What people read: made from the events of a run, and from nothing else."""
