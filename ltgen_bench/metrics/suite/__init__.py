"""All metrics of one set of samples together: the steps, what they found, the report."""
