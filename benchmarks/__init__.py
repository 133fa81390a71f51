"""The figures of docs/benchmarks.md, each from one command: `python -m benchmarks NAME`. Not tests: they take minutes."""
