"""The one place that knows the version."""

__version__ = "0.2.0"


def versions(engine: str = "torch") -> dict[str, str]:
    """Return the versions of clipalign and of the packages that numbers depend on, with those of an engine."""
    from importlib.metadata import version  # only here: --help does without it

    packages = {"torch": "torch", "open_clip": "open_clip_torch", "pillow": "pillow"}
    if engine != "torch":
        packages[engine] = engine
    return {"clipalign": __version__} | {name: version(package) for name, package in packages.items()}
