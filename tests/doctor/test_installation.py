"""Packages and their versions."""

from __future__ import annotations

from importlib import metadata

import pytest

from gossiptrain.doctor.installation import check_packages, fits


@pytest.mark.parametrize(
    ("version", "bounds", "holds"),
    [
        ("1.1.12", ">=1.1.12,<1.2", True),
        ("1.1.2", ">=1.1.12,<1.2", False),
        ("1.2", ">=1.1.12,<1.2", False),
        ("2.13.0+cpu", ">=2.6,<3", True),
        ("3.0.0rc1", ">=2.6,<3", False),
        ("2", ">=2", True),
        ("2.0.0", "==2", True),
        ("1.9", ">1.9", False),
        ("7", "", True),
        ("7", "<=6.5", False),
    ],
)
def test_versions_are_compared_number_by_number(version: str, bounds: str, holds: bool) -> None:
    assert fits(version, bounds) == holds


def test_missing_packages_and_wrong_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=2", "torch>=99,<100", "no-such-package>=1", "other>=1; extra == 'lab'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    found = check_packages()[0]
    assert found.verdict == "fault"
    assert "is installed and >=99,<100 needed" in found.what
    assert "the package no-such-package is missing" in found.what
    assert "other" not in found.what
    assert "numpy" not in found.what


def test_sources_that_were_never_installed_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert check_packages()[0].verdict == "warning"
