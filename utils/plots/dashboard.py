"""One page with all figures and numbers of an evaluation, that opens offline and prints."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.plots.classes import file_name
from utils.plots.description import Figure
from utils.plots.html import figure_block, page


@dataclass(frozen=True)
class Table:
    """A table of texts: `rows` have as many cells as `header`, the first cell names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """A headed part of the page: tables first, then figures side by side."""

    title: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    text: str = ""


def dashboard_html(
    title: str, sections: Sequence[Section], meta: Mapping[str, str] | None = None, notes: Sequence[str] = ()
) -> str:
    """The page as text.

    Parameters
    ----------
    title : heading of the page.
    sections : in order, each with an entry in the navigation; empty ones are left out.
    meta : what the page is about (run ID, dataset, weights …), as pairs of name and value.
    notes : what a reader must know before believing the numbers, e.g. classes without events.
    """
    shown = [section for section in sections if section.figures or section.tables or section.text]
    anchors = [f"{file_name(section.title)}-{number}" for number, section in enumerate(shown)]
    links = "".join(
        f'<a href="#{anchor}">{html.escape(section.title)}</a>' for anchor, section in zip(anchors, shown, strict=True)
    )
    pairs = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in (meta or {}).items()
    )
    body = [f"<nav>{links}</nav>", f"<header><h1>{html.escape(title)}</h1>"]
    if pairs:
        body.append(f"<dl>{pairs}</dl>")
    if notes:
        body.append(f'<ul class="notes">{"".join(f"<li>{html.escape(note)}</li>" for note in notes)}</ul>')
    body.append("</header><main>")
    body += [_section(anchor, section) for anchor, section in zip(anchors, shown, strict=True)]
    body.append("</main>")
    return page(f"<title>{html.escape(title)}</title>", "\n".join(body))


def write_dashboard(
    path: Path,
    title: str,
    sections: Sequence[Section],
    meta: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write `dashboard_html` to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dashboard_html(title, sections, meta, notes), encoding="utf-8")
    return path


def _section(anchor: str, section: Section) -> str:
    parts = [f'<section id="{anchor}"><h2>{html.escape(section.title)}</h2>']
    if section.text:
        parts.append(f'<p class="note">{html.escape(section.text)}</p>')
    parts += [table_html(table) for table in section.tables]
    if section.figures:
        parts.append('<div class="grid">' + "\n".join(figure_block(figure) for figure in section.figures) + "</div>")
    parts.append("</section>")
    return "\n".join(parts)


def table_html(table: Table) -> str:
    """The table, with its caption."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    caption = f'<p class="note">{html.escape(table.caption)}</p>' if table.caption else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{caption}'
