"""From a model in memory to a running `bentoml serve`: store entries, the service, the server and its guard."""
