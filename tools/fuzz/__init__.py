"""Fuzzing: every decoder against input that somebody made on purpose.

::

    python -m tools.fuzz                          # every target for ten seconds
    python -m tools.fuzz note bundle --seconds 600 --seed 7
    python -m tools.fuzz --list

A target is a decoder with valid examples. Examples are changed byte by byte, and along the
structure that they have: lines, JSON members, DER and CBOR elements, base64 inside each other. What
must hold for every input: it is read, or refused with one of our errors; what is read is written
back byte for byte, where a format has one spelling; and either takes less than a second.

What is found is shrunk by Hypothesis and kept in a file, which ``--input FILE`` tries again. With
``--engine atheris``, where Atheris is installed, coverage leads the way.
"""
