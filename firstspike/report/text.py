"""Numbers as people read them."""


def human_duration(seconds: float) -> str:
    """A duration in its two largest units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 1 d 3 h."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes, hours = round(whole / 60), round(whole / 3600)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
