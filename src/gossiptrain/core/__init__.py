"""Floor 0: pure maths and data. No I/O, no clock, no asyncio."""
