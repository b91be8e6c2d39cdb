"""Text from elsewhere in Markdown."""

import pytest

from zoo.core.markup import code, code_block, escaped


def test_escaped():
    assert escaped("a_b *c* <d>\n| `e` [f](g) \\ # & ~ $ \x1b ä") == (
        r"a\_b \*c\* \<d\> \| \`e\` \[f\](g) \\ \# \& \~ \$ \\x1b ä"
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("a *b*", "`a *b*`"), ("a`b", "``a`b``"), ("`a``", "``` `a`` ```"), ("a\nb", "`a b`")]
)
def test_code(text, expected):
    assert code(text) == expected


def test_code_block():
    assert code_block("a\n````\nb\n", "yaml") == "`````yaml\na\n````\nb\n`````"
    assert code_block("a") == "```\na\n```"
