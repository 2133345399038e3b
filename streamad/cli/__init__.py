"""The command line: one module a command."""

try:
    from streamad.cli.main import main
except ImportError as error:
    if error.name != "streamad":
        raise
    # PyPI's `streamad` is another project with a package of this name: one that was installed over ours, and removed.
    raise SystemExit(
        "error: files of this installation are missing or belong to another project\n"
        "  hint: pip uninstall streamad, and install streamad-video again"
    ) from None

__all__ = ["main"]
