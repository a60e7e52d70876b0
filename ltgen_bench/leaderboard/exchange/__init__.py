"""Files that travel: what a submission names by address, hash and size, fetched and never trusted."""
