"""Permission patterns: PCRE's meaning of them."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.spec.patterns import PATTERN_LENGTH_MAX, compile_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        # Seen on RabbitMQ 3.10.8 or Erlang's re.
        ("p", "pq", True),
        ("^p$", "pq", False),
        (".*", "", True),
        (".*", "anything", True),
        ("", "", False),
        ("", "a", False),
        ("^$", "", True),
        ("^$", "a", False),
        (r"^(amq\.gen.*|amq\.default)$", "amq.gen-JzTY", True),
        (r"^(amq\.gen.*|amq\.default)$", "amq.default", True),
        (r"^(amq\.gen.*|amq\.default)$", "amqXdefault", False),
        ("[[:alpha:]]+", "ab", True),
        ("^[[:alpha:]]$", "[", False),
        ("^[[:alpha:][:digit:]_]+$", "a1_", True),
        ("^[^[:upper:]]+$", "abC", False),
        (r"\Aa\z", "a", True),
        (r"\Aa\z", "a\n", False),
        (r"\Aa\Z", "a\n", True),
        ("a$", "a\n", True),
        (r"\Qa.b\E", "a.b", True),
        (r"\Qa.b\E", "axb", False),
        (r"^\Qa.", "a.b", True),
        ("(?<n>a)b", "ab", True),
        ("(?<!x)b", "xb", False),
        ("(?<=x)b", "xb", True),
        ("(?i)ABC", "abc", True),
        (r"^\d$", "٣", False),
        (r"^\w$", "é", False),
        (r"^a\hb$", "a\tb", True),
        (r"^[\h]$", "\t", True),
        ("^[]x]+$", "]x", True),
        ("^[^]x]+$", "]", False),
        ("^[[a]+$", "[a", True),
        ("^[a&&b||c~~]+$", "&|~", True),
        ("^[+--]$", ",", True),
        ("^[--0]$", ".", True),
        (r"^[\]a]$", "]", True),
        (r"^\[a\]$", "[a]", True),
        ("^{client_id}$", "{client_id}", True),
    ],
)
def test_pattern_means_what_pcre_means(pattern: str, text: str, found: bool) -> None:
    assert matches(pattern, text) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "*a",
        "[a",
        "[",
        "a)",
        r"\p{L}",
        "(?R)",
        "a(?i)b",
        "(?u)a",
        "[[:nonsense:]]",
        "[[:^alpha:]]",
        "a{99999999999}",
        "\\",
        "[\\",
        "(" * 500,
        "(" * 2000 + ")" * 2000,
        "a" * (PATTERN_LENGTH_MAX + 1),
    ],
)
def test_invalid_pattern_is_refused_when_set_and_denies_when_asked(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"invalid regular expression|may have 4096 characters"):
        compile_pattern(pattern)
    assert not matches(pattern, "a")
    assert not matches(pattern, pattern)


def test_refusal_names_the_pattern_and_the_reason() -> None:
    with pytest.raises(ValueError, match=r"invalid regular expression '\(a': missing \)"):
        compile_pattern("(a")


@given(st.text(alphabet="ab[]()\\^-$.*+?{}|&~:QEzZh<P!=lpha\n", max_size=30), st.text("ab[-:\n", max_size=5))
def test_any_text_is_a_pattern_or_a_value_error(pattern: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about flags
        try:
            compile_pattern(pattern)
        except ValueError:
            assert not matches(pattern, text)
        else:
            matches(pattern, text)


@given(st.text(max_size=20), st.text(max_size=3), st.text(max_size=3))
def test_quoted_text_matches_itself(text: str, before: str, after: str) -> None:
    if text and "\\E" not in text + "\\":
        assert matches(f"\\Q{text}\\E", before + text + after)
