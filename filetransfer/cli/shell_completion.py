"""Completion in bash, zsh and fish: what click does for each, and what it does not.

Importing this registers all three with click. None of them puts a blank behind a directory: the rest of a path is typed
there.

Bash takes a colon for the end of a word, and gives what is behind it as the word to complete: of ``work:2024/re`` it
would ask for ``2024/re`` only. So the line is taken as it was typed, and of each completion that part is left out which
bash holds to be other words already. What a shell would not take for part of a name is escaped.

Zsh and fish do both themselves. They are sent what click sends, and take it apart here: names may have commas, and so
may what is said of an option.
"""

from __future__ import annotations

import os
import re
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

_BASH = """\
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

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response names directories described
    local kind value help
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s)}")
    for kind value help in ${response}; do
        case $kind in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            *)
                if [[ $help != _ ]]; then
                    described+=("$value:$help")
                elif [[ $value == */ ]]; then
                    directories+=("$value")
                else
                    names+=("$value")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#directories )) && compadd -U -S '' -V unsorted -a directories
    (( $#names )) && compadd -U -V unsorted -a names
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    for completion in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
            COMP_CWORD=(commandline -t) %(prog_name)s)
        set -l parts (string split --max 1 , $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case '*'
                echo $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""

_QUOTES = ("'", '"')
_SPECIAL = re.compile(r"""([\s\\'"$`&|;<>()\[\]{}*?!#~])""")


class LineBashComplete(BashComplete):
    """Completes the end of a line."""

    source_template = _BASH

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


class PathZshComplete(ZshComplete):
    """Leaves no blank behind a directory."""

    source_template = _ZSH


class CommaFishComplete(FishComplete):
    """Takes commas for what they are."""

    source_template = _FISH


def split_line(line: str) -> tuple[list[str], str]:
    """Give the words of a line behind its first, and the one at its end that is to be completed, empty perhaps."""
    words = split_arg_string(line)
    # A word of which more may come is the same with something behind it.
    is_ended = split_arg_string(f"{line}x")[-1] == "x"
    return (words[1:], "") if is_ended else (words[1:-1], words[-1])


for _kind in (LineBashComplete, PathZshComplete, CommaFishComplete):
    add_completion_class(_kind)
