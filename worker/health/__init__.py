"""The worker's heartbeat and self checks: does it poll, and does it execute canary workflows?"""
