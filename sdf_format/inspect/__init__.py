"""What can be said of a file without its model: validate, report, dump, conformance."""
