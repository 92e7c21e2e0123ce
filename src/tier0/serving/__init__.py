"""Registration of models in a BentoML store, the service that serves them, and the server that runs it."""
