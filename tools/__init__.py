"""Programs for the people who work on swiftop: the test cluster, and the extraction of flag tables."""
