"""What a naive clone gets wrong: the list in the specification, each line by its number.

Lines that are the kernel's alone (its uniqueness rules, orders, reference counts) are asked of the emulated kernel.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipsectools.pfkey import constants as c
from ipsectools.pfkey.message import extensions

from .fakes import FakeDoor, Result, script, setkey
from .test_output import association, dumping
from .test_scripts import extension, failing, only

PAIR = "10.0.0.1 10.0.0.2"
KEY16 = "0x" + "07" * 16
CBC = f"-E aes-cbc {KEY16}"

LAUNCH = Path(__file__).parents[2] / "ipsectools" / "launch.py"

Kernel = Callable[..., Result]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """setkey with an emulated kernel of its own; what is not an option is a script."""
    environment = {"IPSECTOOLS_STATE": str(tmp_path), "IPSECTOOLS_HOST": "simulated", "TZ": "UTC"}
    tmp_path.chmod(0o700)

    def run(*words: str) -> Result:
        if not words[0].startswith("-"):
            (tmp_path / "script").write_text(words[0], encoding="latin-1")
            words = ("-f", str(tmp_path / "script"))
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCH), "setkey", *words],
            env=environment,
            capture_output=True,
            timeout=60,
            encoding="latin-1",
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def results(result: Result) -> list[str]:
    """The kernel's answers to a script that goes through."""
    assert (result.status, result.stderr) == (0, "")
    return [line.partition(": ")[2] for line in result.stdout.splitlines() if line.startswith("The result of")]


def heads(dump: str) -> list[str]:
    """The second lines of an SAD dump's entries: protocol, mode, SPI, reqid."""
    return [line.strip() for line in dump.splitlines() if " mode=" in line]


def test_01_kernel_errors_do_not_stop_a_script(kernel: Kernel) -> None:
    text = f"delete {PAIR} esp 5000;\nadd {PAIR} esp 5000 {CBC};\nbad"
    assert kernel(text) == (
        1,
        "The result of line 1: No such process.\nline 3: syntax error at [bad]\nparse failed, line 3.\n",
        "",
    )
    assert len(heads(kernel("-D").stdout)) == 1


def test_02_usage_is_on_stdout_and_a_missing_file_is_255() -> None:
    assert setkey("-d") == setkey() == setkey("-P")
    assert setkey().status == 1
    assert setkey("-f", "/nonexistent").status == 255


# 03: test_command_line.test_loop_never_leaves_its_first_statement, test_output.test_hexadecimal_request


def test_04_both_scopes_are_none(kernel: Kernel) -> None:
    assert kernel("-DPgt") == (0, "Invalid argument.\n", "")


@pytest.mark.parametrize("word", ["get", "any", "dump", "tunnel", "deflate", "add", "esp", "tcp", "oui", "tagged"])
def test_05_keywords_are_keywords_everywhere(word: str) -> None:
    assert script(f"get {word} 10.0.0.1 esp 5;") == failing(1, f"syntax error at [{word}]")
    if word not in ("any", "esp", "tcp"):
        assert script(f"spdadd ::1 ::1 {word} -P in none;") == failing(1, f"syntax error at [{word}]")


def test_05_protocols_of_policies() -> None:
    for word, number in (("esp", 50), ("esp-old", 50), ("tcp", 6)):
        assert extension(only(f"spdadd ::1 ::1 {word} -P in none;"), 5)[4] == number
    for word in ("ah", "ipcomp"):
        assert script(f"spdadd ::1 ::1 {word} -P in none;") == failing(1, f"syntax error at [{word}]")


@pytest.mark.parametrize("character", ["\r", "_", "\\"])
def test_06_fatal_characters(character: str) -> None:
    assert script(f"flush; {character}") == (1, f"line 1: Syntax error at [{character}]\n", "")


def test_07_comments() -> None:
    door = FakeDoor()
    assert script("add # a\n10.0.0.1 # b\n 10.0.0.2 esp 5 # c ; \n -E null 0x00 # d\n; # e\nflush;#f", door).status == 0
    assert len(door.sent) == 2
    assert script("spdadd ::1 ::1 any -P in # c\n none;") == failing(2, "syntax error at [\n none]")


def test_08_policy_text_keeps_its_blank() -> None:
    assert script("spdadd -n nosuch ::1 any -P out none;") == failing(1, "Name does not resolve at [ out none;]")


def test_09_only_syntax_errors_of_the_parser_have_a_second_line() -> None:
    assert script("x;").stdout.count("\n") == 2
    assert script("@").stdout.count("\n") == 1


def test_10_errors_print_the_key() -> None:
    assert "[secret]" in script(f'add {PAIR} esp 5 -E aes-cbc "secret";').stdout


def test_11_odd_keys_and_wrapping_numbers() -> None:
    message = only(f"add {PAIR} esp 4294967552 -u 4294967297 -E null 0xabc;")
    assert extension(message, 9)[4:10] == b"\x10\0\0\0\x0a\xbc"
    assert extension(message, 1)[4:8] == b"\0\0\1\0"
    assert extension(message, 19)[12:] == b"\1\0\0\0"
    assert extension(only("spdadd ::1/256 ::1 any -P in none;"), 5)[5] == 0


def test_12_null(kernel: Kernel) -> None:
    assert script(f"add {PAIR} esp 5000 -E null;") == failing(1, "syntax error at [;]")
    assert script(f"add {PAIR} esp 5000 -A null 0x00;") == failing(1, "syntax error at [0x00]")
    assert results(kernel(f"add {PAIR} ah 5001 -A null;")) == ["Invalid argument."]
    assert results(kernel(f'add {PAIR} esp 5000 -E null ""; add {PAIR} esp 5001 -E null 0x00;')) == []


def test_13_keys_of_the_manual_page_are_too_short() -> None:
    for algorithm, key in (("hmac-sha2-256", "AH SA configuration!"), ("hmac-sha2-512", "this is the test key")):
        assert script(f'add {PAIR} ah 5000 -A {algorithm} "{key}";') == failing(1, f"Invalid key length at [{key}]")


def test_14_salt_is_part_of_the_key(kernel: Kernel) -> None:
    key = "00010203 04050607 08090a0b 0c0d0e0f 10111213"
    text = f"add {PAIR} esp 5000 -E aes-gcm-16 0x{key.replace(' ', '')};"
    assert extension(only(text), 9)[4:6] == b"\xa0\0"
    assert results(kernel(text)) == []
    assert f"\tE: aes-gcm-16  {key}\n" in kernel("-D").stdout


def test_15_names_that_do_not_mean_what_they_say(kernel: Kernel) -> None:
    assert script(f"add {PAIR} ah 5000 -A aes-xcbc-mac {KEY16};") == failing(1, f"Not supported at [{KEY16}]")
    assert results(kernel(f"add {PAIR} ah 5000 -A chacha20-poly1305 {KEY16};")) == ["Operation not supported."]
    assert results(kernel(f"add {PAIR} esp 5000 -E rijndael-cbc {KEY16};")) == []
    assert "\tE: aes-cbc  07070707" in kernel("-D").stdout


def test_16_old_protocols(kernel: Kernel) -> None:
    sha1 = "-A hmac-sha1 0x" + "07" * 20
    assert (
        results(
            kernel(
                f"add {PAIR} ah-old 5000 {sha1}; add {PAIR} esp-old 5001 {CBC} {sha1}; add {PAIR} esp-old 5002 {CBC};"
            )
        )
        == ["Invalid argument."] * 2
    )


def test_17_spis_are_unique(kernel: Kernel) -> None:
    text = f"add {PAIR} esp 5000 {CBC}; add 10.9.9.9 10.9.9.8 ah 5000 -A hmac-sha1 0x{'07' * 20};"
    assert results(kernel(text)) == ["File exists."]


def test_18_lifetimes_come_in_pairs(kernel: Kernel) -> None:
    text = "".join(f"add {PAIR} esp 5000 {lifetimes} {CBC};" for lifetimes in ("-lh 5", "-lh 5 -ls 0", "-lh 9 -ls 8"))
    assert results(kernel(text)) == ["Invalid argument."] * 2


def test_19_windows_are_bytes_here_and_packets_there(kernel: Kernel) -> None:
    text = f"add {PAIR} esp 5000 -r 300 {CBC};"
    assert extension(only(text), 26)[4:] == (2400).to_bytes(4, "little")
    kernel(text)
    assert " replay=300 " in kernel("-D").stdout


def test_20_answers_to_what_is_not_there(kernel: Kernel) -> None:
    text = f"get {PAIR} esp 5000; spddelete {PAIR} any -P in; deleteall {PAIR} esp; dump; spddump;"
    assert results(kernel(text)) == ["No such process.", "Invalid argument.", "No SAD entries.", "No SPD entries."]


def test_21_no_action_is_discard(kernel: Kernel) -> None:
    assert results(kernel(f"spdadd {PAIR} any -P out;")) == []
    assert "\tout discard\n" in kernel("-DP").stdout


# 22: test_scripts.test_hosts_of_add, test_refused_hosts, test_get_and_deleteall_take_several_addresses
# 23: test_scripts.test_selectors, test_refused_selectors
# 24: test_scripts.test_appendix_a


def test_25_reqids_of_policies(kernel: Kernel) -> None:
    text = "".join(
        f"spdadd 10.0.{number}.1 10.0.0.2 any -P out ipsec esp/transport//{level};"
        for number, level in enumerate(["unique:16383", "unique:16384", "unique", "unique:0", "unique:65541"])
    )
    assert results(kernel(text)) == []
    levels = [line.rpartition("/")[2] for line in kernel("-DP").stdout.splitlines() if "transport" in line]
    assert levels == ["unique:16383", "unique#16385", "unique#16386", "unique#16387", "unique:5"]


# 26: test_output.test_associations and test_policies, byte for byte


def test_27_mode_and_reqid_are_those_of_the_group(kernel: Kernel) -> None:
    kernel(f"add {PAIR} esp 5000 -u 7 {CBC}; add {PAIR} esp 5001 -m transport {CBC};")
    dump = kernel("-D").stdout
    assert heads(dump) == [
        "esp mode=any spi=5001(0x00001389) reqid=7(0x00000007)",
        "esp mode=any spi=5000(0x00001388) reqid=7(0x00000007)",
    ]
    assert [line.split()[0] for line in dump.splitlines() if "sadb_seq" in line] == ["sadb_seq=1", "sadb_seq=0"]
    assert dump.count("refcnt=1\n") == 2
    assert kernel(f"get {PAIR} esp 5000;").stdout.endswith("refcnt=2\n")


def test_28_orders(kernel: Kernel) -> None:
    kernel(
        "".join(f"add 10.0.0.{number} 10.0.0.9 esp 500{number} {CBC};" for number in (1, 2, 3))
        + "".join(f"spdadd 10.0.0.{number} 10.0.0.9 any -P {way} none;" for way in ("out", "in") for number in (1, 2))
    )
    assert [line.split("spi=")[1][:4] for line in heads(kernel("-D").stdout)] == ["5003", "5002", "5001"]
    words = kernel("-DP").stdout.split()
    assert [word for word in words if word in ("in", "out")] == ["in", "in", "out", "out"]
    assert [word for word in words if word.startswith("spid=")] == ["spid=3", "spid=4", "spid=1", "spid=2"]


# 29: test_output.test_short_lines


def test_30_original_addresses_vanish(kernel: Kernel) -> None:
    natt = "-natt 10.9.9.9[4500] 10.0.0.2[4501] -natt_mtu 1400"
    kernel(
        f"add {PAIR} esp 5000 -m tunnel {natt} {CBC};"
        f"add 10.1.0.1 10.0.0.2 esp 5001 -m transport {natt} {CBC};"
        f"add 10.2.0.1 10.0.0.2 esp 5002 -m transport -natt_mtu 1400 {CBC};"
    )
    assert [line.strip() for line in kernel("-D").stdout.splitlines() if "NAT:" in line] == ["NAT: OAI=10.9.9.9"]
    message = only(f"add {PAIR} esp 5000 -natt_mtu 1400 {CBC};")
    assert c.EXT_X_NAT_T_FRAG not in dict(extensions(message))


# 31: test_output.test_verbose_dumps_are_followed_by_what_lies_behind, test_verbose_extensions


def test_32_hardware_interfaces_go_nowhere() -> None:
    assert c.EXT_X_IF_HW_OFFL not in dict(extensions(only(f"add {PAIR} esp 5 -hwif em0 {CBC};")))


# 33: test_policy_text
# 34: test_command_line.test_whatever_comes_next_is_the_answer


def test_35_misaligned_requests_fail_in_the_write() -> None:
    assert setkey("-F", door=FakeDoor(lambda message: 22)) == (0, "", "send: Invalid argument\n")


def test_36_families_are_freebsds() -> None:
    assert extension(only(f"add ::1 ::2 esp 5 {CBC};"), 5)[8:10] == b"\x1c\x1c"
    assert "family=28" in setkey("-v", "-e", "add ::1 ::2 esp 5 -E null 0x00;").stdout


# 37: test_policy_text.test_refused


def test_a_dead_one_between_others_is_skipped() -> None:
    """The last reply ends a dump even if it is not printed."""
    assert setkey("-D", door=dumping(association(), association(state=3))).stdout.count(" mode=") == 1
