"""Where bytes live: one protocol for artifacts read and components written, a local folder and S3 behind it."""

from packager.core.ports import Identity, Reader, Sink, Source, StoredComponent, Upload
from packager.stores.address import Stores

__all__ = ["Identity", "Reader", "Sink", "Source", "StoredComponent", "Stores", "Upload"]
