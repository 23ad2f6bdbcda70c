"""Durations for people: `31 min 4 s`. Pure."""

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def coarse_duration(seconds: float) -> str:
    """A duration in its largest unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else "now"


def exact_duration(seconds: float) -> str:
    """A duration in its two largest units, or with decimals: `31 min 4 s`, `2.41 s`, `83 ms`."""
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return whole_duration(max(seconds, 60))


def whole_duration(seconds: float) -> str:
    """A duration in its two largest units, without decimals. Empty for less than a second."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in (*UNITS, (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)
