"""What pytest is told about this suite: which tests run, in which order and where, and what is shown of them."""
