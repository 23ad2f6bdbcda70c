"""HTTP mechanics: limits, request headers and bodies, client address, problems, metrics."""
