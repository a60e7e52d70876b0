"""The ground floor: errors, names, files, seeds, devices, configuration, protocols; no images and no models."""
