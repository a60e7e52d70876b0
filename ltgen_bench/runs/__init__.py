"""One run: from a configuration to a trained model, samples and a record, in a folder."""
