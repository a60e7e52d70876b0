"""From samples to a record: everything that is measured on samples, whoever made them."""
