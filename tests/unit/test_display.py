"""Hostile text is harmless in every medium, and ordinary text stays as it is."""

# ruff: noqa: RUF001 - texts in many languages
from __future__ import annotations

import base64
import html as html_module
import json
import re
import tomllib
import unicodedata
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tier0.cli import app
from tier0.core import display
from tier0.core.errors import Tier0Error
from tier0.core.secrets import MIN_LENGTH, Secrets
from tier0.core.verdict import CheckResult

HOSTILE = [
    "\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\", "\x9b1m", "\x1b", "\x07",
    "::error::", "::add-mask::", "  ::set-output name=x::", "##[group]", "##[", "##vso[task.setvariable]",
    "##teamcity[x]", "\u202e", "\u2066", "\u200b", "\u200f", "\ufeff", "\xad", "\u2028", "\x85", "\U000e0041",
    "\u3164", "\ud800", "\udfff", "\uffff", "\x00", "\r", "\n", "\r\n", "\t", " ", ":", "#", "[", "</script>",
    "<img src=x onerror=alert(1)>", "]]>", "<!--", "-->", "|", "`", "```", "~~~", "![x](http://evil.example)",
    "[x](javascript:x)", "https://evil.example", "www.evil.example", "@team", "#12", "&lt;", "$x$", "\\", "*",
    "- ", "1. ", "> ", "a" * 3000, "\u200d", "\ufe0f", "é", "中", "👩",
]  # fmt: skip
"""The vocabulary of attacks, with a few letters that make variants of it."""
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=25).map("".join)
ORDINARY = [
    "Müller, Straße 5: naïve café, São Paulo, Łódź, Dvořák, e\u0301te\u0301",
    "预测结果 与 训练 模型 不同\u3000（标签）",
    "予測 ラベル 한국어 ไทย",
    "ταξινόμηση класс עברית العربية",
    "👍 🎉 ❤️ ✔️ 1️⃣ 👨\u200d👩\u200d👧 🧑🏽\u200d💻 🏳️\u200d🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "می\u200cخواهم क्\u200dष 葛\U000e0100",
    "a::b, tests/test_it.py::test_x[1], std::string, # heading, C#, x[0]",
    "50\xa0% of 3 × 4 ± 0.5 µm → ok …",
]
TRACEBACK = (
    'Traceback (most recent call last):\n  File "service.py", line 5, in predict\n    return rows[0]\n'
    "           ~~~~^^^\nKeyError: 'größe'\n\n  | a server's line\twith a tab"
)


def is_harmless(text: str, breaks: str = "\n\t") -> bool:
    """Return whether *text* has only visible characters, apart from the joiners in letters and emoji."""
    kept = "\u200c\u200d"
    return not any(
        (unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} and letter not in breaks)
        or (
            unicodedata.category(letter) == "Cf" and letter not in kept and not "\u0600" <= letter <= "\u08e2"
        )
        for letter in re.sub("\U0001f3f4[\U000e0061-\U000e007f]{6}", "", text)
    )


def has_command(text: str) -> bool:
    return any(line.lstrip().startswith("::") for line in text.splitlines()) or bool(
        re.search(r"##\w*\[", text)
    )


@given(TEXTS)
def test_hostile_text_is_harmless_on_a_terminal_and_in_junit(text: str) -> None:
    shown = display.terminal(text)

    assert is_harmless(shown)
    assert not has_command(shown)
    assert len(shown) < display.MAX_TEXT * 2
    ET.fromstring(f"<a>{html_module.escape(shown)}</a>")
    shown.encode("utf-8")
    assert display.terminal(shown) == shown


@given(TEXTS)
def test_hostile_text_stays_on_its_line(text: str) -> None:
    shown = display.line(text)

    assert is_harmless(shown, "")
    assert not has_command(shown)
    assert len(shown) < display.MAX_LINE * 2


@given(TEXTS)
def test_hostile_text_is_not_markdown(text: str) -> None:
    shown = display.markdown(text)

    assert is_harmless(shown, "")
    assert not has_command(shown)
    outside = re.sub(r"(?<!\\)((?:\\\\)*)`[^`]*`", r"\1", shown)  # code is not interpreted
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|*_`~$&\[\]]", outside)
    assert not re.search(r"://|www\.|@|(?<!\\)#\d", outside, re.IGNORECASE)
    assert not re.match(r"[-+=]|\d+[.)]", outside)
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", shown), "a pipe would end the cell of a table, also in code"


@given(TEXTS)
def test_hostile_text_stays_in_its_code(text: str) -> None:
    shown = display.markdown_code(text)

    assert is_harmless(shown, "")
    fence = re.match("`*", shown)[0]  # type: ignore[index]  # it matches every text
    if shown:
        inside = shown[len(fence) : -len(fence)]
        assert fence not in re.findall("`+", inside)


@given(TEXTS)
def test_hostile_text_is_not_html(text: str) -> None:
    shown = display.html(text)

    element = ET.fromstring(f'<a title="{shown}">{shown}</a>')
    assert len(element) == 0
    assert is_harmless("".join(element.itertext()))


@given(TEXTS)
def test_hostile_text_is_harmless_in_json(text: str) -> None:
    found = display.as_json({text: [text, (text,)], "number": 5.5})

    assert all(is_harmless(part) for part in (*found, *found[next(iter(found))][0:1]))
    assert json.loads(json.dumps(found, ensure_ascii=False).encode()) == found


@given(TEXTS)
def test_a_declaration_in_toml_keeps_its_text(text: str) -> None:
    text = "".join(letter for letter in text if not "\ud800" <= letter <= "\udfff")

    written = display.toml(text)

    assert is_harmless(written)
    assert not has_command(written)
    assert tomllib.loads(f"x = {written}") == {"x": text}


@pytest.mark.parametrize("text", [*ORDINARY, TRACEBACK])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert display.terminal(text) == text
    assert display.as_json([text]) == [text]
    assert html_module.unescape(display.html(text)) == text
    if "\n" not in text:
        assert display.line(text) == text


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_readable_in_markdown(text: str) -> None:
    assert re.sub(r"\\([^\w\s]|_)", r"\1", display.markdown(text)) == text


def test_colours_are_removed_and_other_sequences_shown() -> None:
    assert display.terminal("\x1b[1;31mERROR\x1b[0m failed\r\n50 %\r100 %\x1b[2J") == (
        "ERROR failed\n50 %\\u000d100 %\\u001b[2J"
    )


def test_a_removed_colour_uncovers_neither_a_command_nor_a_secret() -> None:
    hide = Secrets({"A_TOKEN": "very-secret-value"}).hide

    assert display.terminal(":\x1b[0m:error::x") == "\\::error::x"
    assert display.terminal("very-\x1b[0msecret-value", hide) == "(A_TOKEN hidden)"
    assert display.as_json("very-\x1b[0msecret-value", hide) == "(A_TOKEN hidden)"


def test_a_long_text_keeps_both_ends() -> None:
    shown = display.terminal("start\n" + "x" * 100_000 + "\nend")

    assert shown.startswith("start\n")
    assert shown.endswith("\nend")
    assert "characters left out" in shown
    assert len(shown) < display.MAX_TEXT + 100


@given(st.integers(0, 40))
def test_a_secret_is_hidden_before_a_text_is_cut(before: int) -> None:
    hide, secret = Secrets({"A_TOKEN": "0123456789-abcdefghij"}).hide, "0123456789-abcdefghij"
    text = "." * (15 - before % 16) + secret + "." * 200

    shown = display.line(text, hide, 30)

    assert not any(secret[at : at + 4] in shown for at in range(len(secret) - 3))


def test_a_long_word_takes_no_time_in_markdown() -> None:
    text = "x" * 1_000_000

    assert display.markdown(text, len(text)) == text


def test_a_deep_structure_ends() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]

    assert len(json.dumps(display.as_json(deep))) < 500


def test_errors_and_results_are_fit_for_display() -> None:
    assert str(Tier0Error("got \x1b[2J\n::error::x")) == "got \\u001b[2J\n\\::error::x"
    result = CheckResult("parity.x", "fail", "\u202eabc", {"got": "\x1b]0;x\x07"}).without(Secrets({}))
    assert is_harmless(result.explain() + str(result.evidence))


SECRET = "s3cr+t/p\"<ä>&'word 99"
FORMS = [
    SECRET,
    "s3cr%2Bt%2Fp%22%3C%C3%A4%3E%26%27word%2099",
    "s3cr%2bt%2fp%22%3c%c3%a4%3e%26%27word%2099",
    "s3cr%2Bt%2Fp%22%3C%C3%A4%3E%26%27word+99",
    "s3cr+t/p&quot;&lt;ä&gt;&amp;&#x27;word 99",
    "s3cr+t/p&#34;&lt;ä&gt;&amp;&#39;word 99",
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1],
    repr(SECRET.encode())[2:-1],
    SECRET.encode().hex(),
    SECRET.encode().hex().upper(),
    base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode(),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_hidden(form: str) -> None:
    assert Secrets({"A_TOKEN": SECRET}).hide(f"before {form} after") == "before (A_TOKEN hidden) after"


@pytest.mark.parametrize("user", ["", "x", "xy", "xyz", "somebody"])
def test_a_secret_in_the_base64_of_a_longer_text_is_hidden(user: str) -> None:
    coded = base64.b64encode(f"{user}:{SECRET}".encode()).decode()

    hidden = Secrets({"A_TOKEN": SECRET}).hide(coded)

    assert "(A_TOKEN hidden)" in hidden
    assert len(hidden.replace("(A_TOKEN hidden)", "")) < len(user) * 2 + 12


def test_the_credentials_of_a_basic_header_are_hidden_decoded() -> None:
    coded = base64.b64encode(b"deployer:short").decode()
    hide = Secrets({}, {"Authorization": f"Basic {coded}"}).hide

    assert hide(f"{coded} deployer:short deployer") == " ".join(["(Authorization hidden)"] * 3)
    assert Secrets({}, {"Authorization": "Basic ***"}).hide("ordinary") == "ordinary"


@given(st.text(alphabet="abcdefghij", min_size=1, max_size=MIN_LENGTH - 1))
def test_a_short_secret_leaves_ordinary_text_alone(secret: str) -> None:
    text = "a bad face: the big cafe has " + " ".join("abcdefghij")

    assert Secrets({"A_TOKEN": secret}, {"X-Key": secret}).hide(text) == text


@pytest.mark.parametrize("kept", range(MIN_LENGTH, 20))
@pytest.mark.parametrize("mark", ["...", "…", " … 30 characters left out … "])
def test_a_secret_that_was_truncated_is_hidden(kept: int, mark: str) -> None:
    secret = "0123456789-abcdefghij"
    hide = Secrets({"A_TOKEN": secret}).hide

    hidden = hide(f"['{secret[:kept]}{mark}{secret[-kept:]}']")

    assert hidden == f"['(A_TOKEN hidden){mark}(A_TOKEN hidden)']"
    assert hide("see 012345 and ... efghij") == "see 012345 and ... efghij"


def test_the_traceback_of_debug_is_shown_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("\x1b[2J very-secret-value and \n::error::x größe")

    monkeypatch.setenv("A_TOKEN", "very-secret-value")
    monkeypatch.setattr("tier0.report.diff.read_facts", fail)

    for options in (["--debug"], []):
        result = CliRunner().invoke(app, [*options, "diff", "old.json", "new.json"])
        assert result.exit_code == 2
        assert ("Traceback" in result.output) == bool(options)
        assert "\\u001b[2J (A_TOKEN hidden) and \n\\::error::x größe" in result.output
        assert "very-secret-value" not in result.output
        assert is_harmless(result.output)


class WithoutText:
    def __repr__(self) -> str:
        raise KeyError("no text")


def test_a_value_whose_text_cannot_be_read_is_shown_by_its_type() -> None:
    assert display.text_of(1) == "1"
    assert display.text_of("a", repr) == "'a'"
    assert "WithoutText" in display.text_of(WithoutText())
    assert "WithoutText" in display.as_json({"answer": [WithoutText()]})["answer"][0]
