"""Words that depend on a number."""


def counted(count: int, noun: str) -> str:
    """Say how many there are: 1 scan, 2 scans, no scans."""
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"
