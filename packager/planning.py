"""What a package would take, found out by reading the artifacts once and writing nothing."""

from __future__ import annotations
