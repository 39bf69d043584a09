"""The tests; a package, so that no installed top-level "tests" can take its place."""
