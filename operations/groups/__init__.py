"""The operations on groups of incidents: list, read, mute, and acts on all incidents of one."""
