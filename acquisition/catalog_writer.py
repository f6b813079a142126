"""Entering journalled runs into a Tiled catalog."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from bluesky_tiled_plugins import TiledWriter
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer
from tiled.client.container import Container

from .journal import Document, frame_numbers, read_journal, uid_of
from .runs import data_root, locate

HDF5 = "application/x-hdf5"


class FrameNormalizer(RunNormalizer):
    """Tell Tiled exactly which frames of a file belong to which stream.

    The camera announces each block of frames (darks, flats, projections, flats again) with a
    ``stream_resource`` of its own. Tiled keeps one ``slice`` per stream and image, so a stream of
    several blocks would read frames of others. This normalizer holds these documents back until
    the stop document and then gives one ``stream_resource`` per stream and image, whose ``slice``
    is ``"15:156"`` or, where blocks are apart, the list of frame numbers.

    Use it wherever a `TiledWriter` is subscribed to runs of this microscope:
    ``TiledWriter(client, normalizer=FrameNormalizer)``.

    Parameters
    ----------
    patches, spec_to_mimetype
        As for `RunNormalizer`.
    """

    def __init__(
        self,
        patches: dict[str, Callable[..., Any]] | None = None,
        spec_to_mimetype: dict[str, str] | None = None,
    ) -> None:
        super().__init__(patches=patches, spec_to_mimetype=spec_to_mimetype)
        self._resources: dict[str, Document] = {}
        # By descriptor and image: resources in use, and frames in the order of the events.
        self._blocks: dict[tuple[str, str], list[str]] = {}
        self._frames: dict[tuple[str, str], list[int]] = {}

    def stream_resource(self, doc: Any) -> None:
        """Keep resources in HDF5 files; pass on others."""
        if doc.get("mimetype") == HDF5 and "template" not in doc["parameters"]:
            self._resources[doc["uid"]] = copy.deepcopy(doc)
        else:
            super().stream_resource(doc)

    def stream_datum(self, doc: Any) -> None:
        """Note the frames of held resources; pass on others."""
        resource = self._resources.get(doc["stream_resource"])
        if resource is None:
            super().stream_datum(doc)
            return
        image = (doc["descriptor"], resource["data_key"])
        blocks = self._blocks.setdefault(image, [])
        if resource["uid"] not in blocks:
            blocks.append(resource["uid"])
        self._frames.setdefault(image, []).extend(frame_numbers(resource, doc))

    def stop(self, doc: Any) -> None:
        """Give the frames of each stream, then the stop document."""
        for (descriptor, image), frames in self._frames.items():
            blocks = [self._resources[uid] for uid in self._blocks[descriptor, image]]
            resource = self._folded(image, blocks, frames)
            super().stream_resource(cast(Any, resource))
            super().stream_datum(
                cast(
                    Any,
                    {
                        "uid": str(uuid.uuid4()),
                        "stream_resource": resource["uid"],
                        "descriptor": descriptor,
                        "indices": {"start": 0, "stop": len(frames)},
                        "seq_nums": {"start": 1, "stop": len(frames) + 1},
                    },
                )
            )
        super().stop(doc)

    @staticmethod
    def _folded(image: str, blocks: list[Document], frames: list[int]) -> Document:
        places = {(block["uri"], block["parameters"]["dataset"]) for block in blocks}
        if len(places) > 1:
            raise ValueError(f"frames of {image} in one stream are in {len(places)} places")
        first, contiguous = frames[0], frames == list(range(frames[0], frames[0] + len(frames)))
        view = f"{first}:{first + len(frames)}" if contiguous else frames
        parameters = {**blocks[0]["parameters"], "slice": view}
        return {**blocks[0], "uid": str(uuid.uuid4()), "parameters": parameters}


def enter_run(catalog: Container, journal: Path) -> None:
    """Write a finished run of the journal into a catalog; a complete entry is left alone.

    Parameters
    ----------
    catalog : Container
        Tiled client of the container of runs.
    journal : Path
        A journal that ends with a stop document.
    """
    uid = uid_of(journal)
    try:
        entry = Container.__getitem__(catalog, uid)  # full uids only, unlike the subclass
    except KeyError:
        pass
    else:
        if entry.metadata.get("stop"):
            return
        catalog.delete_contents(uid, recursive=True, external_only=False)
    writer = TiledWriter(catalog, normalizer=FrameNormalizer)
    root = data_root(journal)
    for name, doc in read_journal(journal):
        if name == "stream_resource" and str(doc["uri"]).startswith("file:"):
            # In a data directory that was moved, the frames have moved with it.
            doc = {**doc, "uri": f"file://localhost{quote(str(locate(doc['uri'], root)))}"}
        writer(name, doc)
