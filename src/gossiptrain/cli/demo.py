"""placeholder being written"""


def demo() -> None:
    """x"""
