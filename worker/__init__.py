"""The worker process: `main` starts it, `build` wires it, `loops` run beside Temporal's worker."""
