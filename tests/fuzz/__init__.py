"""Every decoder of bytes that others write, fed with bytes that nobody should write.

`decoders.py` is the list. `make test` tries some hundreds of inputs on each, always the same; `make fuzz` tries as many
as one likes, and lets atheris look which of them reach new lines; see docs/security.md.
"""
