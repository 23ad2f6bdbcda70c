"""HTTP mechanics: request head and body limits, headers, client address, problem responses, metrics."""
