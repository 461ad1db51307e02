"""Completion scripts: made from the registry, and working in the shells."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools.commands.ifconfig import completion, registry

if TYPE_CHECKING:
    from pathlib import Path

FAKE = """#!/bin/sh
case "$*" in
-l) echo em0 ipsec0 ;;
-C) echo ipsec lo ;;
-a) printf 'em0: flags=0\\n\\tinet 192.0.2.1 netmask 0xff\\n\\tinet6 2001:db8::1 prefixlen 64\\n'
    printf '\\tgroups: egress vpn\\n' ;;
esac
"""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_word_is_there(shell: str) -> None:
    script = completion.script(shell)
    assert "@" not in script.replace("$@", "").replace("[@]", "")
    words = set(script.replace("'", " ").replace(":", " ").replace("|", " ").replace(")", " ").split())
    assert words.issuperset(registry.keywords) and words.issuperset(registry.creating_keywords)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_reads_it(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    script = tmp_path / "script"
    script.write_text(completion.script(shell))
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, check=False).stderr == b""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash(tmp_path: Path) -> None:
    expected = {
        "ifconfig ": "em0 ipsec0 ipsec lo",
        "ifconfig e": "em0",
        "ifconfig -l ": "inet inet6 link ether lladdr",
        "ifconfig --": "--json --libxo",
        "ifconfig -f inet6:": "cidr default numeric",
        "ifconfig -f inet:cidr --j": "--json",
        "ifconfig -ag ": "egress vpn",
        "ifconfig -u ipsec0 ": None,
        "ifconfig ipsec0 tunn": "tunnel tunnelfib",
        "ifconfig ipsec0 tunnel 2001:": "db8::1",
        "ifconfig ipsec0 tunnel 192.0.2.1 ": "192.0.2.1 2001:db8::1",
        "ifconfig ipsec0 mtu ": "",
        "ifconfig ipsec0 mtu 1400 mt": "mtu",
        "ifconfig ipsec0 create ine": "inet inet6",
        "ifconfig ipsec0 up ine": "",
        "ifconfig ipsec0 inet6 no_": "no_radr no_prefer_iface no_dad",
        "ifconfig ipsec0 no_": "",
        "ifconfig bridge0 addm ": "em0 ipsec0",
        "ifconfig ipsec0 group ": "egress vpn",
    }
    fake = tmp_path / "ifconfig"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    lines = [completion.script("bash")]
    for line in expected:
        lines.append(
            f"COMP_LINE='{line}' COMP_POINT={len(line)}; _ipsectools_ifconfig {fake}; echo \"${{COMPREPLY[*]}}\""
        )
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for (line, wanted), given in zip(expected.items(), done.stdout.splitlines(), strict=True):
        if wanted is not None:
            assert (line, sorted(given.split())) == (line, sorted(wanted.split()))
        else:
            assert {"create", "tunnel", "reqid", "destroy", "inet6", "up", "netmask"} <= set(given.split())


def test_usage() -> None:
    done = subprocess.run(
        [__import__("sys").executable, "-m", "ipsectools.commands.ifconfig.completion", "fish"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: python -m ipsectools.commands.ifconfig.completion bash|zsh\n"
