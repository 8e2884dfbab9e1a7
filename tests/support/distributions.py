"""Distributions as pip leaves them, without pip."""

from __future__ import annotations

from pathlib import Path


def lay_out(site: Path, name: str, entry_points: str, code: str = "", version: str = "1.0") -> None:
    """Write a distribution of one module, both called ``name``, into a directory that is or will be on sys.path."""
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(code, encoding="utf-8")
    about = site / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(entry_points, encoding="utf-8")
