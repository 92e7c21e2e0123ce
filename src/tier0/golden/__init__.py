"""Golden rows: input rows with the trained model's outputs, how they are made, stored and compared."""
