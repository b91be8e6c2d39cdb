"""Whether what is installed fits together."""

from importlib.metadata import PackageNotFoundError, version

from datamodules.errors import InputError


def check_torch() -> None:
    """Import torch and torchvision.

    A torchvision built for another torch is one of the commonest broken installations there are. Lightning's metrics
    import torchvision, so nothing works without this.

    Raises:
        InputError: where one is missing or the two do not fit each other; names both versions and the way out.
    """
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # a missing file, symbol or operator
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not fit each other ({cause}): "
            "install the two together from one place: pip install --force-reinstall torch torchvision"
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
