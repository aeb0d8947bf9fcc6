"""Completion in bash, which is told more than click tells it.

Bash takes a colon for the end of a word, and gives what is behind it as the word to complete: of ``work:2024/re`` it
would ask for ``2024/re`` only. So the line is taken as it was typed, and of each completion that part is left out which
bash holds to be other words already. What a shell would not take for part of a name is escaped, and no blank is put
behind a directory.
"""

from __future__ import annotations

import os
import re
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

_SOURCE = """\
%(complete_func)s() {
    local IFS=$'\\n' line completion kind value
    line=${COMP_LINE:0:COMP_POINT}
    for completion in $(env COMP_LINE="$line" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete "$1"); do
        kind=${completion%%%%,*} value=${completion#*,}
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value"); [[ $value == */ ]] && compopt -o nospace ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_QUOTES = ("'", '"')
_SPECIAL = re.compile(r"""([\s\\'"$`&|;<>()\[\]{}*?!#~])""")


class LineBashComplete(BashComplete):
    """Completes the end of a line."""

    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """See :class:`click.shell_completion.ShellComplete`."""
        return split_line(os.environ["COMP_LINE"])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """See :class:`click.shell_completion.ShellComplete`."""
        if item.type != "plain":
            return super().format_completion(item)
        line = os.environ["COMP_LINE"]
        typed = split_line(line)[1]
        value = item.value
        if ":" in os.environ.get("COMP_WORDBREAKS", ""):
            value = value[typed.rfind(":") + 1 :]
        is_quoted = line[: len(line) - len(typed)].endswith(_QUOTES)
        return "plain," + (value if is_quoted else _SPECIAL.sub(r"\\\1", value))


def split_line(line: str) -> tuple[list[str], str]:
    """Give the words of a line behind its first, and the one at its end that is to be completed, empty perhaps."""
    words = split_arg_string(line)
    # A word of which more may come is the same with something behind it.
    is_ended = split_arg_string(f"{line}x")[-1] == "x"
    return (words[1:], "") if is_ended else (words[1:-1], words[-1])


add_completion_class(LineBashComplete)
