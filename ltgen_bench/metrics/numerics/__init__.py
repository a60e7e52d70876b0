"""Linear algebra, distances, neighbours and threads under the metrics."""
