"""The feature networks, one file each."""
