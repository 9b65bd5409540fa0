"""`polydiff view`: files as one HTML page, by the viewer that their domain's previews have."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polydiff.errors import UsageError

if TYPE_CHECKING:
    from polydiff.domain import Domain


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[DOMAIN] FILES...")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("view.html"), show_default=True)
def command(words: tuple[str, ...], out: Path) -> None:
    """Write one HTML page, which needs no network, that shows FILES of one domain: as they can be turned or
    played where a plugin brings a viewer for that kind of preview, else as pictures.

    DOMAIN, left out, is that of the first file.
    """
    from polydiff.models.refs import domain_of
    from polydiff.plugins.registry import get_registry
    from polydiff.support.files import atomic_write

    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {out}: the page is an .html file.")
    registry = get_registry()
    named = len(words) > 1 and words[0] in {info.name for info in registry.domains()}
    files = [Path(word) for word in words[named:]]
    name = words[0] if named else domain_of(files[0])
    info, domain = registry.domain_info(name), registry.domain(name)()
    shown, titles = [domain.load(path) for path in files], [path.name for path in files]
    viewers = (registry.viewer_for(preview) for preview in info.previews)
    viewer = next((found for found in viewers if found is not None), None)
    page = pictures_page(domain, shown, titles) if viewer is None else viewer(shown, titles)
    with atomic_write(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    click.echo(f"{out}: {len(shown)} of {name}")


def pictures_page(domain: Domain, examples: Sequence[Any], titles: Sequence[str]) -> str:
    """A page of examples under their titles: each as notebooks show it, or its preview."""
    figures = [
        f"<figure>{_shown(domain, example)}<figcaption>{html.escape(title)}</figcaption></figure>"
        for example, title in zip(examples, titles, strict=True)
    ]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>polydiff</title>'
    return f"{head}<body>{''.join(figures)}</body></html>\n"


def _shown(domain: Domain, example: Any) -> str:
    if hasattr(example, "_repr_html_"):
        return str(example._repr_html_())
    picture = base64.b64encode(domain.preview(example)).decode("ascii")
    return f'<img alt="" src="data:image/png;base64,{picture}">'
