from tests.exported import built, bundle, checkpoint, phantoms_made_once

__all__ = ["built", "bundle", "checkpoint", "phantoms_made_once"]
