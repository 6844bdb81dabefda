"""Every policy side by side in virtual time: `python -m bench.policy --help`."""
