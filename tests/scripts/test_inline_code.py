"""Inline code of the site: options stay whole, long names have places to break, and the text is what was written."""

import re

import pytest

markdown = pytest.importorskip("markdown", reason="the extra docs is not installed")


def _convert(text):
    others = [f"markdown.extensions.{name}" for name in ("fenced_code", "tables", "toc")]
    return markdown.markdown(text, extensions=["scripts.inline_code", *others])


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("facekit train --dry-run", 'facekit train <span class="option">--dry-run</span>'),
        ("-v", '<span class="option">-v</span>'),
        ("a - b", "a - b"),
        ("per_device_train_batch_size", "per_<wbr />device_<wbr />train_<wbr />batch_<wbr />size"),
        ("hf:OpenGVLab/InternVL3-1B-hf", "hf:<wbr />OpenGVLab/<wbr />InternVL3-1B-hf"),
        ("lora_alpha", "lora_alpha"),
        ("<think>reasons</think> &amp;", "&lt;think&gt;reasons&lt;/<wbr />think&gt; &amp;amp;"),
    ],
)
def test_lines_end_between_words_of_a_name_and_not_inside_an_option(code, written):
    assert _convert(f"`{code}`") == f"<p><code>{written}</code></p>"


def test_blocks_of_code_and_identifiers_of_headings_stay_as_they_are():
    html = _convert("## `per_device_train_batch_size`\n\n    x --dry-run\n\n```\nx --dry-run\n```")
    assert html.count("<code>x --dry-run\n</code>") == 2
    assert 'id="per_device_train_batch_size"' in html


def test_a_table_has_the_marks_too_and_no_letter_is_lost():
    text = "facekit convert chat-json:data/mllm_demo.json?media=data records.jsonl --format sharegpt"
    html = _convert(f"| a |\n| --- |\n| `{text}` |")
    assert "<wbr />" in html
    assert re.sub(r"<[^>]+>", "", html).split("a\n")[-1].strip() == text
