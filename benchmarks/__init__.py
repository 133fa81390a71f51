"""The figures of docs/benchmarks.md, each from one command: `python -m benchmarks NAME`. They take minutes."""
