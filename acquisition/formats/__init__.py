"""Readers of scan files: our NXtomo, DXchange, Zeiss Xradia, folders of TIFFs."""

from __future__ import annotations

from pathlib import Path

from .scan import Frames, Scan, ScanFormatError

__all__ = ["Frames", "Scan", "ScanFormatError", "open_scan"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def open_scan(source: str | Path) -> Scan:
    """Open a scan of any known format; pixels are read when they are sliced.

    The format is recognised by the content, never by the name.

    Parameters
    ----------
    source : str or Path
        An NXtomo or DXchange HDF5 file (also one that is still being written, or was left by a
        crash), a Zeiss Xradia ``.txrm``/``.xrm``, or a folder of TIFFs with a ``scan.toml``
        (see `zoneplate.acquisition.formats.tiff`).

    Returns
    -------
    Scan
        A context manager: files are closed at the end of ``with`` or by ``close()``.

    Raises
    ------
    ScanFormatError
        Missing, unknown, truncated or inconsistent; the message says what to do.

    Examples
    --------
    >>> open_scan("no/such/file.h5")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    ScanFormatError: no/such/file.h5: there is no such file; check the path
    """
    path = Path(source)
    if not path.exists():
        raise ScanFormatError(path, "there is no such file", "check the path")
    if path.is_dir():
        from .tiff import open_tiff

        return open_tiff(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ScanFormatError(path, f"it cannot be read ({error.strerror})", "check it") from error
    if head == _HDF5_MAGIC:
        return _open_hdf5(path)
    if head == _OLE_MAGIC:
        from .xradia import open_xradia

        return open_xradia(path)
    if head.startswith(_TIFF_MAGICS):
        raise ScanFormatError(
            path, "a single TIFF says no angles", "give its folder, with a scan.toml in it"
        )
    raise ScanFormatError(
        path,
        "neither HDF5 nor Xradia nor TIFF",
        "give an NXtomo or DXchange HDF5, a .txrm/.xrm, or a folder of TIFFs",
    )


def _open_hdf5(path: Path) -> Scan:
    from .dxchange import is_dxchange, read_dxchange
    from .nxtomo import find_detector, open_hdf5, read_nxtomo

    file = open_hdf5(path)
    try:
        detector = find_detector(file)
        if detector is not None:
            return read_nxtomo(path, file, detector)
        if is_dxchange(file):
            return read_dxchange(path, file)
    except BaseException:
        file.close()
        raise
    found = ", ".join(f"/{name}" for name in sorted(file)) or "nothing"
    file.close()
    raise ScanFormatError(
        path,
        f"an HDF5 file without projections (found {found})",
        "NXtomo (entry/instrument/detector with data and image_key) or DXchange (exchange/data) "
        "is needed",
    )
