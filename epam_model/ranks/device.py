"""Devices that a recipe may name; importable without torch."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
