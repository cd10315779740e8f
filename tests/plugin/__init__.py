"""The suite's pytest plugins: which tests run, in which order and where, and what is reported."""
