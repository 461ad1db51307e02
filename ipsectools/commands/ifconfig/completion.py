"""Shell completion, made from the keyword registry: `python -m ipsectools.commands.ifconfig.completion bash|zsh`.

The printed script is static: words, the kinds of their arguments and help texts are in it. Only names of interfaces,
cloners, groups and addresses are asked of `ifconfig` itself while completing.
"""

from __future__ import annotations

import itertools
import sys

from ipsectools.commands.ifconfig import features, main, media, registry  # noqa: F401  (features fills the registry)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsectools.commands.ifconfig.registry import Keyword

FLAGS = {
    "-a": "all interfaces",
    "-l": "only the names",
    "-u": "only interfaces that are up",
    "-d": "only interfaces that are down",
    "-m": "capabilities, too",
    "-v": "driver name, too",
    "-D": "driver name, too",
    "-k": "secrets, too",
    "-L": "remaining lifetimes of IPv6 addresses",
    "-n": "load no modules",
    "-C": "list the cloners",
    "-f": "output format",
    "-g": "only interfaces of a group",
    "-G": "no interfaces of a group",
    "-j": "in a network namespace",
    "--json": "as JSON",
    "--libxo": "as JSON, with options",
}

FORMATS = (
    "default",
    "cidr",
    *(f"addr:{name}" for name in ("default", "fqdn", "host", "numeric")),
    *(f"ether:{name}" for name in ("colon", "dash", "default", "dotted")),
    *(f"inet:{name}" for name in ("cidr", "default", "dotted", "hex")),
    *(f"inet6:{name}" for name in ("cidr", "default", "numeric")),
)

SHOWN_FAMILIES = ("inet", "inet6", "link", "ether", "lladdr")


def _with_argument() -> str:
    """The flags that take an argument, as alternatives of a shell pattern."""
    letters = main.LETTERS
    return "|".join([f"-*{letter}" for letter, next_ in itertools.pairwise(letters) if next_ == ":"] + ["--libxo"])


def _all_keywords() -> list[Keyword]:
    return [*registry.creating_keywords.values(), *registry.keywords.values()]


def _by_arguments() -> dict[tuple[str, ...], list[str]]:
    """The words that take arguments, by the kinds of these."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for keyword in _all_keywords():
        if keyword.arguments:
            grouped.setdefault(tuple(keyword.arguments), []).append(keyword.name)
    return grouped


def _cases() -> str:
    return "\n".join(
        f"            {'|'.join(names)}) kinds=({' '.join(kinds)}) ;;" for kinds, names in _by_arguments().items()
    )


def _words_of(family: str) -> Iterable[Keyword]:
    return [keyword for keyword in _all_keywords() if not keyword.families or family in keyword.families]


_HEADER = """\
# {shell} completion for ifconfig(8). Generated from the keyword registry; do not edit:
#     python -m ipsectools.commands.ifconfig.completion {shell}
"""

# Takes a complete `word` into `name`, `family`, `all` and the `kinds` of arguments that are still to come.
_TAKE_WORD = """\
        if ((${#kinds[@]})); then
            kinds=(${kinds[@]:1})
        elif [[ -z $name ]]; then
            case $word in
            @WITH_ARGUMENT@)
                case $word in
                -*f) kinds=(format) ;;
                -*j) kinds=(vnet) ;;
                -*[gG]) kinds=(group); [[ $word == -*a* ]] && all=yes ;;
                *) kinds=(style) ;;
                esac ;;
            --*) ;;
            -*[al]*) all=yes ;;
            -*) ;;
            *) name=$word ;;
            esac
        else
            case $word in
            @FAMILY_PATTERN@) [[ -z $family ]] && family=$word ;;
@CASES@
            esac
        fi
        previous=$word
"""

_BASH = """\
_ipsectools_ifconfig() {
    local ifconfig=$1 line=${COMP_LINE:0:COMP_POINT} current= name= all= family= previous= candidates= word i
    local -a words kinds
    read -ra words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then current=; else current=${words[-1]}; unset 'words[-1]'; fi
    kinds=()
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
@TAKE_WORD@
    done
    if ((${#kinds[@]})); then
        case ${kinds[0]} in
        interface) candidates=$("$ifconfig" -l 2>/dev/null) ;;
        group) candidates=$("$ifconfig" -a 2>/dev/null | sed -n 's/^\\tgroups: //p') ;;
        vnet) candidates=$(ls /run/netns 2>/dev/null) ;;
        address | endpoint)
            candidates=$("$ifconfig" -a 2>/dev/null | sed -n 's/^\\tinet6\\{0,1\\} \\([^ %]*\\).*/\\1/p') ;;
        media) candidates='@MEDIA@' ;;
        format) candidates='@FORMATS@' ;;
        style) candidates='json json,pretty text' ;;
        esac
    elif [[ -z $name && $current == -* ]]; then
        candidates='@FLAGS@'
    elif [[ -z $name && -n $all ]]; then
        candidates='@FAMILIES@'
    elif [[ -z $name ]]; then
        candidates="$("$ifconfig" -l 2>/dev/null) $("$ifconfig" -C 2>/dev/null)"
    else
        case $family in
        inet6) candidates='@INET6@' ;;
        link | ether | lladdr) candidates='@LINK@' ;;
        *) candidates='@INET@' ;;
        esac
        [[ $previous == "$name" || $previous == create || $previous == plumb ]] && candidates+=' @FAMILIES@'
    fi
    COMPREPLY=($(compgen -W "$candidates" -- "$current"))
    # Readline takes what follows the last colon for the word.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
    fi
}
complete -F _ipsectools_ifconfig ifconfig
"""

_ZSH = """\
_ipsectools_ifconfig() {
    local ifconfig=$words[1] name= all= family= previous= word i
    local -a kinds candidates
    for ((i = 2; i < CURRENT; i++)); do
        word=$words[i]
@TAKE_WORD@
    done
    if (($#kinds)); then
        case $kinds[1] in
        interface) candidates=(${=$("$ifconfig" -l 2>/dev/null)}) ;;
        group) candidates=(${=$("$ifconfig" -a 2>/dev/null | sed -n 's/^\\tgroups: //p')}) ;;
        vnet) candidates=(/run/netns/*(N:t)) ;;
        address | endpoint)
            candidates=(${=$("$ifconfig" -a 2>/dev/null | sed -n 's/^\\tinet6\\{0,1\\} \\([^ %]*\\).*/\\1/p')}) ;;
        media) candidates=(@MEDIA@) ;;
        format) candidates=(@FORMATS@) ;;
        style) candidates=(json json,pretty text) ;;
        *) _message "$kinds[1]"; return ;;
        esac
        compadd -a candidates
        return
    fi
    if [[ -z $name && $words[CURRENT] == -* ]]; then
        candidates=(
@FLAGS@
        )
        _describe flag candidates
    elif [[ -z $name && -n $all ]]; then
        compadd @FAMILIES@
    elif [[ -z $name ]]; then
        compadd ${=$("$ifconfig" -l 2>/dev/null)} ${=$("$ifconfig" -C 2>/dev/null)}
    else
        case $family in
        inet6)
            candidates=(
@INET6@
            ) ;;
        link | ether | lladdr)
            candidates=(
@LINK@
            ) ;;
        *)
            candidates=(
@INET@
            ) ;;
        esac
        _describe parameter candidates
        [[ $previous == $name || $previous == (create|plumb) ]] && compadd @FAMILIES@
    fi
}
_ipsectools_ifconfig "$@"
"""


def _bash() -> str:
    values = {
        "FLAGS": " ".join(FLAGS),
        "FORMATS": " ".join(FORMATS),
        **{family.upper(): " ".join(word.name for word in _words_of(family)) for family in ("inet", "inet6", "link")},
    }
    return _HEADER.format(shell="bash") + _fill(_BASH, values)


def _zsh() -> str:
    values = {
        "FLAGS": _described((flag, help) for flag, help in FLAGS.items()),
        "FORMATS": " ".join(f"'{name}'" for name in FORMATS),
        **{
            family.upper(): _described((word.name, word.help) for word in _words_of(family))
            for family in ("inet", "inet6", "link")
        },
    }
    return "#compdef ifconfig\n" + _HEADER.format(shell="zsh") + _fill(_ZSH, values)


def _described(pairs: Iterable[tuple[str, str]]) -> str:
    lines = [f"{name}:{help}".replace("'", "'\\''") for name, help in pairs]
    return "\n".join(f"                '{line}'" for line in lines)


def _fill(template: str, values: dict[str, str]) -> str:
    values = {
        "TAKE_WORD": _TAKE_WORD.rstrip("\n"),
        **values,
        "CASES": _cases(),
        "WITH_ARGUMENT": _with_argument(),
        "FAMILIES": " ".join(SHOWN_FAMILIES),
        "FAMILY_PATTERN": "|".join(SHOWN_FAMILIES),
        "MEDIA": " ".join(media.SUBTYPES),
    }
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def script(shell: str) -> str:
    """The completion script for `bash` or `zsh`. Raises KeyError for another shell."""
    return {"bash": _bash, "zsh": _zsh}[shell]()


if __name__ == "__main__":
    if sys.argv[1:] not in (["bash"], ["zsh"]):
        sys.exit("usage: python -m ipsectools.commands.ifconfig.completion bash|zsh")
    sys.stdout.write(script(sys.argv[1]))
