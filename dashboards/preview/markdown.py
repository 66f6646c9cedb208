"""The part of Markdown that text widgets and runbooks use, as HTML. Everything else stays text; nothing is trusted."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

_FENCE = "```"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"\s*(?:([-*])|(\d+)\.)\s+(.*)")
_SAFE_TARGET = re.compile(r"(https?://|#|[\w./-]+$)")
_RULE = re.compile(r"-{3,}\s*")


def to_html(text: str, top: int = 3) -> str:
    """Return Markdown as HTML; its largest heading becomes `<h{top}>`, so that it fits below the page's own."""
    html: list[str] = []
    top -= min((len(marks) for marks in re.findall(r"^(#{1,6})\s", text, re.MULTILINE)), default=1) - 1
    blocks = text.replace("\r\n", "\n").split(_FENCE)
    for number, block in enumerate(blocks):
        if number % 2:
            code = block.split("\n", 1)[-1] if "\n" in block else block
            html.append(f'<pre tabindex="0"><code>{escape(code.strip())}</code></pre>')
        else:
            html += [_paragraph(part, top) for part in re.split(r"\n\s*\n", block) if part.strip()]
    return "\n".join(html)


def _paragraph(text: str, top: int) -> str:
    """Return one block: headings, lists, tables and text may follow each other line by line."""
    lines: list[str] = []
    for line in text.strip("\n").split("\n"):
        if line.startswith("  ") and lines and _kind(lines[-1]) in {"ul", "ol"} and not _ITEM.match(line):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(_block(kind, list(group), top) for kind, group in groupby(lines, key=_kind))


def _kind(line: str) -> str:
    item = _ITEM.match(line)
    if item:
        return "ul" if item[1] else "ol"
    if _RULE.fullmatch(line):
        return "rule"
    return "heading" if _HEADING.match(line) else "table" if line.lstrip().startswith("|") else "text"


def _block(kind: str, lines: list[str], top: int) -> str:
    match kind:
        case "ul" | "ol":
            items = (match[3] for line in lines if (match := _ITEM.match(line)))
            return f"<{kind}>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</{kind}>"
        case "heading":
            return "\n".join(_heading(line, top) for line in lines)
        case "table":
            return _table(lines)
        case "rule":
            return "<hr>"
    return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"


def _heading(line: str, top: int) -> str:
    marks, _, text = line.partition(" ")
    level = min(6, len(marks) + top - 1)
    return f"<h{level}>{_inline(text.strip())}</h{level}>"


def _table(rows: list[str]) -> str:
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    head, body = cells[0], [row for row in cells[1:] if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    top = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rest}</tbody></table>"


def _inline(text: str) -> str:
    parts = text.split("`")
    return "".join(f"<code>{escape(part)}</code>" if n % 2 else _styled(part) for n, part in enumerate(parts))


def _styled(text: str) -> str:
    safe = escape(text)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"(?<!\w)[*_](.+?)[*_](?!\w)", r"<em>\1</em>", safe)
    return _LINK.sub(_linked, safe)


def _linked(match: re.Match[str]) -> str:
    """Return a link; a picture is one too, since the page asks for nothing, and so is CloudWatch's button."""
    picture, text, target = match.groups()
    shown = re.sub(r"^button:(?:\w+:)?", "", text) + (" (picture)" if picture else "")
    return f'<a href="{target}">{shown}</a>' if _SAFE_TARGET.match(target) else match[0]
