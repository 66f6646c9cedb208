import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.preview.markdown import to_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# Title\ntext", "<h3>Title</h3>\n<p>text</p>"),
        ("a *b* **c** `d*e*`", "<p>a <em>b</em> <strong>c</strong> <code>d*e*</code></p>"),
        (
            "- one\n  more\n- two\n\n1. first\n2. second",
            "<ul><li>one more</li><li>two</li></ul>\n<ol><li>first</li><li>second</li></ol>",
        ),
        (
            "|a|b|\n|-|-|\n|1|2|",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        ),
        ("```\nx < y\n```", '<pre tabindex="0"><code>x &lt; y</code></pre>'),
        ("[docs](https://example.com)", '<p><a href="https://example.com">docs</a></p>'),
        ("[button:primary:Go](#there)", '<p><a href="#there">Go</a></p>'),
        ("![plan](https://example.com/a.png)", '<p><a href="https://example.com/a.png">plan (picture)</a></p>'),
        ("## Second\n### Third", "<h3>Second</h3>\n<h4>Third</h4>"),
        ("[bad](javascript:alert)", "<p>[bad](javascript:alert)</p>"),
        ("---", "<hr>"),
        ("snake_case_name", "<p>snake_case_name</p>"),
    ],
)
def test_the_markdown_of_widgets_becomes_html(text, html):
    assert to_html(text) == html


@given(st.text("<>&\"'`*_#[]()|-1. \nabscript:/", max_size=80))
def test_no_text_brings_a_tag_of_its_own(text):
    plain = "h[1-6]|p|ul|ol|li|table|thead|tbody|tr|th|td|em|strong|code|hr|pre|a"
    known = rf'</?(?:{plain}|pre tabindex="0"|a href="[^"<>]*")>'
    assert not re.search(r"[<>]", re.sub(known, "", to_html(text)))
