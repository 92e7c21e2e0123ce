"""The comparison of two services: asked the same rows, measured in bounded memory, judged against noise."""
