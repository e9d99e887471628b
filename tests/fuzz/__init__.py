"""Hostile inputs: seeds are changed at random and read; each must be read or refused in one line.

python -m tests.fuzz                      every target, 10 seconds each
python -m tests.fuzz video exr -s 600     some, for longer; --seed for other changes; --keep DIR for what was found
"""
