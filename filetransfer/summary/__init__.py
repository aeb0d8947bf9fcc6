"""SUMMARY: statistics over a file of numbers, computed in a child process.

A file of numbers is text: finite decimal numerals (optional sign, digits with an optional fraction,
``.5`` and ``5.`` too, optional exponent), separated by runs of newlines, carriage returns, blanks,
tabs and commas. A run counts once, so blank lines, CRLF and the empty field of ``1,,2`` are all
just separators. A UTF-8 byte-order mark may stand at the very start. Anything else is refused. Or
the numbers are one column of a file of rows, as CSV has them (see `columns`).

A thread would hold the interpreter's lock for a whole block of numbers and stop the reactor; so the
work is done in a child process, which is handed the opened file and answers with one line::

    process     how the server starts it and reads its answer; all that the server needs
    child       the process itself
    blocks      reads the file in blocks of whole numerals or lines
    numerals    from octets to floats
    columns     the same for one column of a file of rows
    moments     from floats to statistics

The child must start fast. So nothing is imported here, and what the child imports costs nothing
(dataclasses are 17 ms, json 6, typing 10, numpy 60; the bare interpreter is 11).
"""
